"""Archived objects, with moto standing for Glacier: told when read, asked for, waited for."""

from __future__ import annotations

import os

import pytest

from fleet.errors import StoreError
from fleet.stores.s3 import S3Store
from tests.integration.s3_servers import client_of, make_bucket, s3_store
from tests.integration.stores_kit import parts, read

KEYS = [f"objects/production/{n:02x}/{n:064x}" for n in range(3)]


@pytest.fixture
def archive(moto_s3: str) -> S3Store:
    return s3_store(moto_s3, make_bucket(moto_s3), storage_class="GLACIER", thaw_tier="Bulk", thaw_days=3)


async def test_archived_contents_are_thawed_before_they_are_read(archive: S3Store, moto_s3: str) -> None:
    for key in KEYS:
        assert await archive.put_new(key, key.encode())
        assert not await archive.put_new(key, key.encode())
    await archive.put("backups/production/1/manifest.json", parts(b"{}"))
    assert await read(archive, "backups/production/1/manifest.json") == b"{}"
    with pytest.raises(StoreError, match="InvalidObjectState") as raised:
        await read(archive, KEYS[0])
    assert "thawed" in str(raised.value.hint)

    assert await archive.thaw([*KEYS[:2], "backups/production/1/manifest.json", "objects/production/ff/none"]) == set(
        KEYS[:2]
    )
    found = client_of(moto_s3).head_object(Bucket=archive._bucket, Key=archive._prefix + KEYS[0])
    assert "Restore" in found
    assert "Restore" not in client_of(moto_s3).head_object(Bucket=archive._bucket, Key=archive._prefix + KEYS[2])
    assert await archive.thaw(KEYS[:2]) == frozenset()  # moto is done at once
    assert await read(archive, KEYS[0]) == KEYS[0].encode()


async def test_large_contents_are_archived_too(archive: S3Store) -> None:
    content = os.urandom(9 << 20)
    await archive.put(KEYS[0], parts(content))
    assert await archive.thaw(KEYS[:1]) == set(KEYS[:1])
    assert await archive.thaw(KEYS[:1]) == frozenset()
    assert await read(archive, KEYS[0]) == content
