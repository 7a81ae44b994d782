"""The S3 store against SeaweedFS, with a proxy between them that spoils what passes."""

from __future__ import annotations

import asyncio
import os
import time
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import unused_port

from fleet.errors import StoreError
from fleet.secrets import Secrets, SecretText
from fleet.stores import Sealed, _s3_connection, s3
from fleet.stores.s3 import S3Store
from tests.integration.s3_servers import (
    KEY_ID,
    SECRET,
    Proxy,
    client_of,
    cut_at,
    days_later,
    flipped,
    make_bucket,
    refusal,
    s3_store,
)
from tests.integration.stores_kit import MIB, keys, parts, read


@pytest.fixture
def store(proxy: Proxy, bucket: str) -> S3Store:
    return s3_store(proxy.address, bucket, timeout="1s")


def uploads(url: str, bucket: str, store: S3Store) -> list[str]:
    found = client_of(url).list_multipart_uploads(Bucket=bucket, Prefix=store._prefix).get("Uploads", ())
    return [upload["Key"].removeprefix(store._prefix) for upload in found]


@pytest.mark.parametrize(("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")])
async def test_what_fails_in_passing_is_tried_again(store: S3Store, proxy: Proxy, status: int, code: str) -> None:
    proxy.refusals = [(method, refusal(status, code)) for method in ("PUT", "GET", "HEAD")]
    await store.put("x", parts(b"content"))
    assert await read(store, "x") == b"content"
    assert await keys(store) == ["x"]
    assert proxy.refusals == []
    assert len([line for line in proxy.seen if line.startswith("PUT")]) == 2


async def test_a_service_that_hangs_once_is_asked_again(store: S3Store, proxy: Proxy) -> None:
    proxy.hold = asyncio.Event()

    proxy.release_at = 2
    assert await store.list() == []
    assert len(proxy.seen) >= 2


async def test_a_part_that_fails_in_passing_costs_no_upload(store: S3Store, proxy: Proxy) -> None:
    content = os.urandom(17 * MIB)
    await store.put("before", parts(b"1"))
    proxy.refusals = [("PUT", refusal(500, "InternalError"))]
    await store.put("x", parts(content))
    assert await read(store, "x") == content


@pytest.mark.parametrize("size", [1000, 17 * MIB])
async def test_an_upload_damaged_on_its_way_is_refused(
    store: S3Store, proxy: Proxy, seaweed: str, bucket: str, size: int
) -> None:
    proxy.flip_uploads = True
    with pytest.raises(StoreError, match="BadDigest") as raised:
        await store.put("x", parts(bytes(size)))
    assert raised.value.hint == "it was damaged on its way"
    with pytest.raises(StoreError, match="BadDigest"):
        await store.put_new("objects/x", bytes(size))
    assert await keys(store) == []
    assert uploads(seaweed, bucket, store) == []


async def test_an_answer_damaged_on_its_way_is_told(store: S3Store, proxy: Proxy) -> None:
    await store.put("x", parts(os.urandom(100_000)))
    proxy.spoils = [("GET", flipped)]
    with pytest.raises(StoreError, match="wrong checksum"):
        await read(store, "x")


async def test_an_answer_that_breaks_off_is_continued(store: S3Store, proxy: Proxy) -> None:
    content = os.urandom(5 * MIB)
    await store.put("x", parts(content))
    proxy.spoils = [("GET", cut_at(2 * MIB + 5)), ("GET", cut_at(MIB)), ("GET", cut_at(0))]
    assert await read(store, "x") == content
    assert proxy.spoils == []


async def test_an_answer_that_always_breaks_off_is_told(store: S3Store, proxy: Proxy) -> None:
    await store.put("x", parts(os.urandom(MIB)))
    proxy.spoils = [("GET", cut_at(0))] * 10
    with pytest.raises(StoreError, match="broke off"):
        await read(store, "x")


async def test_an_object_replaced_while_it_is_read_is_not_mixed(store: S3Store, proxy: Proxy) -> None:
    await store.put("x", parts(os.urandom(3 * MIB)))
    proxy.spoils = [("GET", cut_at(2 * MIB))]
    reading = store.get("x")
    await anext(reading)
    await store.put("x", parts(os.urandom(3 * MIB)))
    with pytest.raises(StoreError, match="PreconditionFailed"):
        async for _ in reading:
            pass


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (400, "ExpiredToken", "expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (403, "AccessDenied", "may this login"),
        (400, "AuthorizationHeaderMalformed", "region"),
    ],
)
async def test_refusals_have_a_hint(store: S3Store, proxy: Proxy, status: int, code: str, hint: str) -> None:
    await store.list()  # a client that was refused at once would be made anew
    # an answer to HEAD has no body: why it was refused is told by the question after it
    for method, work in (("GET", store.list), ("HEAD", lambda: store.stat("x")), ("DELETE", lambda: store.delete("x"))):
        proxy.refusals = [(each, refusal(status, code)) for each in (method, "GET") for _ in range(8)]
        with pytest.raises(StoreError, match=code) as raised:
            await work()
        assert hint in str(raised.value.hint)
        proxy.refusals = []


async def test_what_is_not_there_or_not_ours_has_a_hint(seaweed: str, bucket: str) -> None:
    with pytest.raises(StoreError, match="NoSuchBucket") as raised:
        await s3_store(seaweed, "nothing-here").list()
    assert "bucket's name" in str(raised.value.hint)
    with pytest.raises(StoreError, match="InvalidAccessKeyId") as raised:
        await s3_store(seaweed, bucket, access_key_id="AKNOBODY").list()
    assert "access_key_id" in str(raised.value.hint)


async def test_a_service_out_of_reach_has_a_hint(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_s3_connection, "ATTEMPTS", 2)
    with pytest.raises(StoreError, match="Could not connect") as raised:
        await s3_store(f"http://127.0.0.1:{unused_port()}", bucket).list()
    assert "endpoint_url" in str(raised.value.hint)


async def test_a_changed_secret_is_taken_at_once(seaweed: str, bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("an old one")
    store = s3_store(seaweed, bucket, secret_access_key=f"file:{file}")
    with pytest.raises(StoreError, match="SignatureDoesNotMatch") as raised:
        await store.stat("x")
    assert "an old one" not in f"{raised.value} {raised.value.hint}"
    file.write_text(SECRET)
    assert await store.stat("x") is None
    file.unlink()
    assert await store.stat("x") is None


async def test_a_secret_that_cannot_be_had_is_told(seaweed: str, bucket: str) -> None:
    store = s3_store(seaweed, bucket, secret_access_key="env:CUSTODE_NOT_SET")  # noqa: S106 - a reference
    with pytest.raises(StoreError, match="CUSTODE_NOT_SET is not set"):
        await store.put_new("x", b"1")


async def test_no_credentials_at_all(seaweed: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    values = {"bucket": bucket, "endpoint_url": seaweed}
    with pytest.raises(StoreError, match="no credentials"):
        await S3Store(S3Store.Options.model_validate(values), Secrets(time.monotonic)).list()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    await S3Store(S3Store.Options.model_validate(values), Secrets(time.monotonic)).list()


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (409, "ConditionalRequestConflict")])
async def test_conditions_that_cannot_be_met(store: S3Store, proxy: Proxy, status: int, code: str) -> None:
    proxy.refusals = [("PUT", refusal(status, code))]
    assert await store.put_new("objects/x", b"content")
    assert await read(store, "objects/x") == b"content"
    proxy.refusals = [("PUT", refusal(status, code))]
    assert not await store.put_new("objects/x", b"content")


async def test_what_is_there_is_not_sent_again(store: S3Store, proxy: Proxy) -> None:
    content = os.urandom(MIB)
    assert await store.put_new("objects/x", content)
    proxy.seen.clear()
    assert not await store.put_new("objects/x", content)
    assert [line.split()[0] for line in proxy.seen] == ["HEAD"]


async def test_memory_is_bounded_whatever_the_size(seaweed: str, bucket: str) -> None:
    store = s3_store(seaweed, bucket)
    await store.put("warm", parts(b"1"))

    async def content() -> AsyncIterator[bytes]:
        for _ in range(96):
            yield os.urandom(MIB)

    tracemalloc.start()
    try:
        assert (await store.put("x", content())).size_bytes == 96 * MIB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 48 * MIB


async def test_a_failed_upload_is_aborted(store: S3Store, proxy: Proxy, seaweed: str, bucket: str) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield bytes(18 * MIB)
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError, match="the source died"):
        await store.put("x", failing())
    assert uploads(seaweed, bucket, store) == []
    assert [line.split()[0] for line in proxy.seen][-1] == "DELETE"


async def test_uploads_of_killed_processes_are_removed_after_a_day(proxy: Proxy, seaweed: str, bucket: str) -> None:
    store = s3_store(proxy.address, bucket)
    client_of(seaweed).create_multipart_upload(Bucket=bucket, Key=f"{store._prefix}dead")
    await store.put("x", parts(b"1"))
    assert uploads(seaweed, bucket, store) == ["dead"]
    await store.put("x", parts(b"2"))
    proxy.spoils = [("GET", days_later(2))]
    await store.put("large", parts(bytes(9 * MIB)))
    assert uploads(seaweed, bucket, store) == []


async def test_a_service_that_lists_no_uploads_takes_backups(store: S3Store, proxy: Proxy) -> None:
    proxy.refusals = [("GET", refusal(403, "AccessDenied"))]
    await store.put("x", parts(b"1"))
    assert await keys(store) == ["x"]


async def test_pages_of_a_long_list(seaweed: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE", 3)
    store = s3_store(seaweed, bucket)
    for number in range(10):
        await store.put_new(f"many/{number}", b"1")
    client_of(seaweed).put_object(Bucket=bucket, Key=f"{store._prefix}many/folder/", Body=b"")
    assert await keys(store, "many/") == [f"many/{number}" for number in range(10)]


async def test_locked_objects_stay(seaweed: str) -> None:
    locked = make_bucket(seaweed, locks=True)
    store = s3_store(seaweed, locked, prefix="p", object_lock={"mode": "compliance", "days": 3})
    await store.put("backups/x", parts(b"content"))
    await store.put_new("objects/x", b"content")
    client = client_of(seaweed)
    for key in ("p/backups/x", "p/objects/x"):
        found = client.head_object(Bucket=locked, Key=key)
        assert found["ObjectLockMode"] == "COMPLIANCE"
        assert abs(found["ObjectLockRetainUntilDate"].timestamp() - time.time() - 3 * 86400) < 60
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.delete_object(Bucket=locked, Key=key, VersionId=found["VersionId"])
    await store.delete("objects/x")
    assert await keys(store) == ["backups/x"]
    assert await store.put_new("objects/x", b"content")
    assert await read(store, "objects/x") == b"content"


async def test_a_bucket_without_lock_is_told(seaweed: str, bucket: str) -> None:
    store = s3_store(seaweed, bucket, object_lock={"mode": "governance", "days": 1})
    with pytest.raises(StoreError, match="InvalidRequest") as raised:
        await store.put("x", parts(b"1"))
    assert "object_lock" in str(raised.value.hint)


async def test_only_contents_have_the_storage_class(seaweed: str, bucket: str) -> None:
    store = s3_store(seaweed, bucket, storage_class="STANDARD_IA")
    await store.put("objects/qa/large", parts(bytes(9 * MIB)))
    await store.put_new("objects/qa/x", b"1")
    await store.put_new("indexes/qa/x", b"1")
    await store.put("backups/qa/1/manifest.json", parts(b"1"))
    found = client_of(seaweed).list_objects_v2(Bucket=bucket, Prefix=store._prefix)["Contents"]
    classes = {each["Key"].removeprefix(store._prefix): each["StorageClass"] for each in found}
    assert {key for key, its in classes.items() if its == "STANDARD_IA"} == {"objects/qa/large", "objects/qa/x"}
    assert len(classes) == 4


async def test_an_encrypted_store_in_a_bucket(seaweed: str, bucket: str) -> None:
    inner = s3_store(seaweed, bucket)
    store = Sealed(inner, SecretText(b64encode(bytes(32)).decode()), Secrets(time.monotonic))
    content = os.urandom(9 * MIB)
    assert (await store.put("x", parts(content))).size_bytes == len(content)
    assert await store.put_new("objects/x", content)
    assert await read(store, "x") == await read(store, "objects/x") == content
    assert content[:64] not in await read(inner, "x")
