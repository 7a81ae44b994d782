from __future__ import annotations

import hashlib

import pytest

from fleet.backups import DatabaseDump, Manifest, Pin, Proof, read_manifest, read_manifests, write_manifest
from fleet.backups.catalogue import put_bytes, write_pin, write_proof
from fleet.backups.damage import find_damage
from fleet.backups.garbage import condemn, remove_backup
from fleet.backups.manifest import POOL
from fleet.backups.pool import read_damaged, write_damaged
from fleet.backups.replicate import Copied, replicate
from fleet.errors import StoreError
from tests.snapshots import (
    DAY,
    ENVIRONMENT,
    HOUR,
    Hook,
    Killed,
    MemoryStore,
    dangling,
    killed_at,
    make_snapshot,
    nothing,
    packs,
    refusing,
)


async def test_only_what_is_missing_is_sent_and_the_manifest_last() -> None:
    source, target = MemoryStore(), MemoryStore()
    first = await make_snapshot(source, source.now, packs(1, 2, 3))
    second = await make_snapshot(source, source.now + HOUR, packs(2, 3, 4))
    await write_pin(source, second, Pin(at=1.0, by="me", reason="audit"))
    await write_proof(source, second, Proof(at=2.0, seconds=3.0))
    second = await read_manifest(source, ENVIRONMENT, second.id)
    put: list[str] = []
    target.hook = _noting(put)
    assert (await replicate(source, target, first)).objects == 3 + 1 + 3
    put.clear()
    told: list[tuple[int, int]] = []
    copied = await replicate(source, target, second, lambda done, total: told.append((done, total)))
    assert copied.objects == 3, "a pack, an index, the rows of small tables"
    assert told[-1] == (copied.bytes, copied.bytes)
    assert put[-1] == f"backups/qa/{second.id}/manifest.json"
    assert {key: one[0] for key, one in target.objects.items()} == {key: one[0] for key, one in source.objects.items()}
    assert await read_manifests(target, ENVIRONMENT) == [first, second]
    assert await replicate(source, target, second) == Copied(0, 0)


async def test_dumps_of_the_other_engines_are_copied_and_checked() -> None:
    source, target = MemoryStore(), MemoryStore()
    content = b"PGDMP and more"
    key = "backups/qa/20270115T080000Z-0123abcd/0123abcd.1/app.dump.zst"
    await put_bytes(source, key, content)
    dump = DatabaseDump(
        name="app", key=key, size_bytes=len(content), plain_bytes=1, sha256=hashlib.sha256(content).hexdigest()
    )
    manifest = Manifest(
        id="20270115T080000Z-0123abcd", environment=ENVIRONMENT, started_at=1.0, finished_at=2.0, succeeded=True,
        engine="custom", databases=(dump,),
    )  # fmt: skip
    await write_manifest(source, manifest)
    assert await replicate(source, target, manifest) == Copied(1, len(content))
    assert target.objects[key][0] == content
    source.objects[key] = b"PGDMP and mord", 0.0
    other = MemoryStore()
    with pytest.raises(StoreError, match="damaged"):
        await replicate(source, other, manifest)
    assert other.objects == {}


async def test_a_damaged_object_is_not_spread() -> None:
    source, target = MemoryStore(), MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    key = next(key for key in source.objects if key.startswith(POOL))
    source.objects[key] = source.objects[key][0][:-1] + b"?", source.now
    with pytest.raises(StoreError, match="damaged"):
        await replicate(source, target, manifest)
    assert key not in target.objects
    assert await read_manifests(target, ENVIRONMENT) == []


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_any_point_it_goes_on_where_it_ended(after: bool) -> None:
    source = MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    number, died = 0, True
    while died:
        number += 1
        target = MemoryStore()
        setattr(target, "after" if after else "hook", killed_at(number))
        died = False
        try:
            await replicate(source, target, manifest)
        except* Killed:  # a group of them where objects are copied together
            died = True
        target.hook = target.after = nothing
        assert await dangling(target) == []
        await replicate(source, target, manifest)
        assert await find_damage(target, manifest, read_data=True) == []
    assert number == 10, "the claim twice, six objects, the manifest: each was a place to die"


async def test_what_has_another_size_there_is_sent_again() -> None:
    source, target = MemoryStore(), MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    key = next(key for key in source.objects if key.startswith(POOL))
    target.objects[key] = b"half", target.now
    await replicate(source, target, manifest)
    assert await find_damage(target, manifest, read_data=True) == []


async def test_what_was_found_damaged_there_is_sent_again() -> None:
    source, target = MemoryStore(), MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    key = next(key for key in source.objects if key.startswith(POOL))
    target.objects[key] = source.objects[key][0][:-1] + b"?", target.now
    await write_damaged(target, ENVIRONMENT, [key, "objects/qa/ab/other"])
    await replicate(source, target, manifest)
    assert await find_damage(target, manifest, read_data=True) == []
    assert await read_damaged(target, ENVIRONMENT) == {"objects/qa/ab/other"}


async def test_what_is_being_removed_there_is_copied_a_day_later() -> None:
    source, target = MemoryStore(), MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    await replicate(source, target, manifest)
    target.now += DAY
    await condemn(target, ENVIRONMENT, target.now, [manifest.id])
    await remove_backup(target, ENVIRONMENT, manifest.id)
    target.now += DAY
    await condemn(target, ENVIRONMENT, target.now)
    with pytest.raises(StoreError, match="are being removed"):
        await replicate(source, target, manifest)
    assert await read_manifests(target, ENVIRONMENT) == []
    await condemn(target, ENVIRONMENT, target.now)  # it sees the claim
    await replicate(source, target, manifest)
    assert await find_damage(target, manifest, read_data=True) == []


async def test_a_store_that_fails_is_one_error() -> None:
    source, target = MemoryStore(), MemoryStore()
    manifest = await make_snapshot(source, source.now, packs(1, 2))
    target.hook = refusing(("put", POOL))
    with pytest.raises(StoreError, match="not allowed"):
        await replicate(source, target, manifest)


def _noting(put: list[str]) -> Hook:
    async def hook(call: str, key: str) -> None:
        if call == "put":
            put.append(key)

    return hook
