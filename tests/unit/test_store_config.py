"""What the configuration says of stores."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daemon.config import ConfigError, Settings
from daemon.config._load import parse
from daemon.parts import make_stores
from fleet.secrets import Secrets
from fleet.stores import Sealed
from fleet.stores._s3_upload import PART_BYTES, cut, part_bytes
from fleet.stores.s3 import S3Store

PLANTED = "hunter2hunter2"


def settings(store: str) -> Settings:
    return parse(
        f"environments: {{qa: {{tier: qa, dsn: 'env:X'}}}}\nstores: {{offsite: {{{store}}}}}", Path("/etc/custode.yml")
    )


def problem(store: str) -> str:
    with pytest.raises(ConfigError) as raised:
        settings(store)
    assert PLANTED not in str(raised.value)
    (found,) = raised.value.problems
    return f"{found.path} {found.message}"


def test_a_bucket_is_enough() -> None:
    made = make_stores(settings("type: s3, bucket: pg-backups"), Secrets(time.monotonic))
    assert isinstance(made["offsite"], S3Store)


def test_an_encryption_key_wraps_any_store() -> None:
    for store in ("type: s3, bucket: pg-backups", "type: local, path: /srv"):
        one = settings(f"{store}, encryption_key: 'file:/run/secrets/key'")
        assert isinstance(make_stores(one, Secrets(time.monotonic))["offsite"], Sealed)
        assert one.redacted()["stores"]["offsite"]["encryption_key"] == "file:/run/secrets/key"
        assert [".".join(map(str, at)) for at, _ in one.secrets()][-1] == "stores.offsite.encryption_key"


def test_secrets_of_a_store_are_not_shown() -> None:
    one = settings(f"type: s3, bucket: abc, access_key_id: AK, secret_access_key: {PLANTED}, encryption_key: {PLANTED}")
    shown = one.redacted()["stores"]["offsite"]
    assert (shown["secret_access_key"], shown["encryption_key"]) == ("***", "***")
    assert one.holds_plain_secrets()
    assert PLANTED not in f"{one!r} {one.model_dump()} {one.stores}"


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("type: s3", "stores.offsite.bucket is missing"),
        (f"type: s3, bucket: abc, access_key_id: {PLANTED}", "access_key_id and secret_access_key go together"),
        ("type: s3, bucket: abc, session_token: 'env:T'", "session_token needs access_key_id"),
        ("type: s3, bucket: abc, prefix: a/../b", "stores.offsite.prefix"),
        (f"type: s3, bucket: abc, endpoint_url: 'https://u:{PLANTED}@h'", "stores.offsite.endpoint_url"),
        ("type: s3, bucket: abc, endpoint_url: minio.internal", "stores.offsite.endpoint_url"),
        ("type: s3, bucket: abc, storage_class: GLACEIR", "stores.offsite.storage_class"),
        ("type: s3, bucket: abc, object_lock: {mode: governance}", "stores.offsite.object_lock.days is missing"),
        ("type: s3, bucket: abc, object_lock: {mode: governance, days: 0}", "stores.offsite.object_lock.days"),
        ("type: s3, bucket: abc, timeout: 100ms", "stores.offsite.timeout must be at least 1s"),
        ("type: local, path: /srv, encryption_key: 'evn:KEY'", "stores.offsite.encryption_key"),
        (f"type: local, path: /srv, encryption_key: [{PLANTED}]", "stores.offsite.encryption_key"),
        ("type: local, path: /srv, encryption-key: x", "stores.offsite.encryption-key is not known here"),
    ],
)
def test_what_is_wrong_with_a_store_is_told_at_its_key(store: str, said: str) -> None:
    assert said in problem(store)


def test_parts_grow_so_that_240_gb_fit() -> None:
    sizes = [part_bytes(number) for number in range(1, 10_001)]
    assert sizes[:2000] == [PART_BYTES] * 2000
    assert sizes == sorted(sizes)
    assert max(sizes) == 40 << 20
    assert sum(sizes) > 240e9


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
async def test_a_stream_is_cut_into_full_parts_and_a_rest(size: int) -> None:
    async def content() -> AsyncIterator[bytes]:
        for at in range(0, size, 3_000_001):
            yield bytes(min(3_000_001, size - at))

    sizes = [len(part) async for part in cut(content())]
    assert sum(sizes) == size
    assert sizes[:-1] == [PART_BYTES] * (len(sizes) - 1)
    assert sizes[-1] > 0 or size == 0
