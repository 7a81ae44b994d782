"""Manifests, their keys, and what is read back from a store that holds all sorts of things."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fleet.backups import (
    DatabaseDump,
    KnownManifests,
    Manifest,
    Pin,
    Proof,
    Table,
    backup_id,
    backup_prefix,
    dump_key,
    manifest_key,
    read_manifest,
    read_manifests,
    write_manifest,
    write_pin,
    write_proof,
)
from fleet.backups.retention import decide
from fleet.errors import StoreError
from fleet.policy import Retention
from fleet.stores.local import LocalStore

AT = 1_785_312_900.0  # 2026-07-29 08:15:00 UTC


def manifest(run_id: str = "3f2a9c1b77", *, at: float = AT, environment: str = "qa") -> Manifest:
    dump = DatabaseDump(
        name="app",
        key="k",
        size_bytes=10,
        plain_bytes=40,
        sha256="00",
        extensions={"vector": "0.8.6"},
        revisions=("a1",),
        tables=(Table(schema_name="public", name="users", rows=3), Table(schema_name="public", name="new", rows=None)),
    )
    return Manifest(
        id=backup_id(at, run_id),
        environment=environment,
        started_at=at,
        finished_at=at + 2.5,
        succeeded=True,
        databases=(dump, dump.model_copy(update={"name": "other", "size_bytes": 5})),
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStore.Options(path=tmp_path))


async def put(store: LocalStore, key: str, text: str) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield text.encode()

    await store.put(key, content())


def test_ids_sort_by_time() -> None:
    assert backup_id(AT, "3f2a9c1b77") == "20260729T081500Z-3f2a9c1b"
    assert sorted([backup_id(AT + 86400, "0"), backup_id(AT + 1, "a"), backup_id(AT, "f")]) == [
        "20260729T081500Z-f",
        "20260729T081501Z-a",
        "20260730T081500Z-0",
    ]


@pytest.mark.parametrize("name", ["app", "a/b", "..", ".hidden", "città", "a b\n", "%", "x" * 63, "è" * 31])
async def test_any_database_name_makes_a_key(store: LocalStore, name: str) -> None:
    key = dump_key("qa", "1", name)
    await put(store, key, "1")
    assert key.startswith("backups/qa/1/")
    assert key.count("/") == 3
    assert await store.stat(key)


def test_two_names_never_share_a_key() -> None:
    names = ["a.b", "a%2Eb", "a%252Eb", "A.b"]
    assert len({dump_key("qa", "1", name) for name in names}) == len(names)


async def test_a_manifest_comes_back_as_it_was_written(store: LocalStore) -> None:
    written = manifest()
    await write_manifest(store, written)
    assert await read_manifest(store, "qa", written.id) == written
    assert written.size_bytes == 15
    assert written.seconds == 2.5


async def test_manifests_are_read_oldest_first_and_by_environment(store: LocalStore) -> None:
    for item in (manifest("b", at=AT + 60), manifest("a"), manifest("c", environment="qa2")):
        await write_manifest(store, item)
    await put(store, dump_key("qa", "20260101T000000Z-0", "app"), "a dump without a manifest is no backup")
    assert [item.id for item in await read_manifests(store, "qa")] == ["20260729T081500Z-a", "20260729T081600Z-b"]
    assert await read_manifests(store, "nobody") == []


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', '{"format": 3, "id": "x"}'])
async def test_a_broken_manifest_is_logged_once_and_left_out(store: LocalStore, text: str) -> None:
    good = manifest()
    await write_manifest(store, good)
    await put(store, manifest_key("qa", "broken"), text)
    with capture_logs() as logs:
        assert await read_manifests(store, "qa") == [good]
    assert [entry["event"] for entry in logs] == ["manifest_unreadable"]
    assert logs[0]["key"] == "backups/qa/broken/manifest.json"


@pytest.mark.parametrize("text", ["", "{", '{"format": 2}', "\xff"])
async def test_a_pin_that_cannot_be_understood_is_a_pin(store: LocalStore, text: str) -> None:
    old, new = manifest(at=AT - 86_400), manifest()
    for one in (old, new):
        await write_manifest(store, one)
    await put(store, backup_prefix("qa", old.id) + "pin.json", text)
    with capture_logs() as logs:
        found = await read_manifests(store, "qa")
    assert [(entry["event"], entry["key"]) for entry in logs] == [
        ("manifest_unreadable", f"backups/qa/{old.id}/pin.json")
    ]
    kept, _ = decide(found, Retention(last=1), AT + 60)
    assert (kept.keep, kept.reasons) == (True, ("pinned: its pin cannot be understood",))
    assert await read_manifest(store, "qa", old.id) == found[0]
    await write_pin(store, found[0], None)
    assert await read_manifests(store, "qa") == [old, new], "it can be taken away"


async def test_fields_of_a_later_version_are_ignored(store: LocalStore) -> None:
    good = manifest()
    await put(store, manifest_key("qa", good.id), good.model_dump_json()[:-1] + ', "invented": {"later": 1}}')
    assert await read_manifests(store, "qa") == [good]


async def test_a_store_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    class Unreadable(LocalStore):
        async def get(self, key: str) -> AsyncIterator[bytes]:
            raise StoreError(key)
            yield b""

    store = Unreadable(LocalStore.Options(path=tmp_path))
    await write_manifest(store, manifest())
    with pytest.raises(StoreError):
        await read_manifests(store, "qa")


async def test_what_is_known_is_not_read_again(tmp_path: Path) -> None:
    class Counting(LocalStore):
        def get(self, key: str) -> AsyncIterator[bytes]:
            read.append(key)
            return super().get(key)

    store = Counting(LocalStore.Options(path=tmp_path))
    read: list[str] = []
    known: KnownManifests = {}

    async def reading() -> tuple[list[Manifest], list[str]]:
        read.clear()
        return await read_manifests(store, "qa", known), list(read)

    first, second = manifest("a"), manifest("b", at=AT + 60)
    await write_manifest(store, first)
    await put(store, manifest_key("qa", "broken"), "{")
    with capture_logs() as logs:
        assert (await reading())[0] == [first]
        await write_manifest(store, second)
        assert await reading() == ([first, second], [manifest_key("qa", second.id)])
        assert await reading() == ([first, second], [])
    assert [entry["event"] for entry in logs] == ["manifest_unreadable"]
    proof, pin = Proof(at=AT + 900, seconds=70.0), Pin(at=AT + 901, by="anna", reason="before the migration")
    proven = first.model_copy(update={"proof": proof, "pin": pin})
    await write_proof(store, first, proof)
    await write_pin(store, first, pin)
    assert await reading() == (
        [proven, second],
        [backup_prefix("qa", first.id) + "pin.json", backup_prefix("qa", first.id) + "proof.json"],
    )
    assert await read_manifest(store, "qa", first.id) == proven
    await write_pin(store, first, None)
    proven = proven.model_copy(update={"pin": None})
    assert await reading() == ([proven, second], [])
    await store.delete(manifest_key("qa", second.id))
    await store.delete(manifest_key("qa", "broken"))
    assert await reading() == ([proven], [])
    assert len(known) == 2
