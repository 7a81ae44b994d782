"""Garbage collection beside whatever else may happen to a store."""

from __future__ import annotations

from contextlib import suppress

import pytest

from fleet.backups import Manifest, manifest_key, read_manifests
from fleet.backups.catalogue import put_bytes
from fleet.backups.damage import find_damage
from fleet.backups.garbage import condemn, garbage_key, read_garbage, remove_backup, survey, sweep
from fleet.backups.manifest import backup_prefix, inventory_key, pool_prefixes
from fleet.backups.pool import read_inventory
from fleet.errors import StoreError
from tests.snapshots import (
    DAY,
    ENVIRONMENT,
    HOUR,
    Killed,
    MemoryStore,
    dangling,
    killed_at,
    make_failure,
    make_snapshot,
    nothing,
    packs,
    refusing,
)


async def prune(store: MemoryStore, *removing: str) -> None:
    """What the action does, step by step."""
    await condemn(store, ENVIRONMENT, store.now, removing)
    for id_ in removing:
        await remove_backup(store, ENVIRONMENT, id_)
    await sweep(store, ENVIRONMENT, lambda: store.now)


async def objects(store: MemoryStore) -> set[str]:
    return {stat.key for prefix in pool_prefixes(ENVIRONMENT) for stat in await store.list(prefix)}


async def needed(store: MemoryStore) -> set[str]:
    manifests = await read_manifests(store, ENVIRONMENT)
    inventories = [await read_inventory(store, one.inventory) for one in manifests if one.inventory is not None]
    return set().union(*inventories)


@pytest.fixture
async def store() -> MemoryStore:
    """Two backups that share two of three packs, a day old."""
    store = MemoryStore()
    await make_snapshot(store, store.now, packs(1, 2, 3))
    await make_snapshot(store, store.now + HOUR, packs(2, 3, 4))
    store.now += DAY
    return store


async def ids(store: MemoryStore) -> list[str]:
    return [one.id for one in await read_manifests(store, ENVIRONMENT)]


async def test_what_nobody_needs_goes_a_day_after_it_was_seen(store: MemoryStore) -> None:
    before = await objects(store)
    old, new = await ids(store)
    await prune(store, old)
    assert await ids(store) == [new]
    assert await objects(store) == before, "nothing is deleted at once"
    unreferenced = before - await needed(store)
    assert len(unreferenced) == 3  # a pack, an index, the rows of small tables
    assert set(await read_garbage(store, ENVIRONMENT)) == unreferenced
    store.now += DAY - 1
    await prune(store)
    assert await objects(store) == before
    store.now += 1
    assert (await survey(store, ENVIRONMENT, store.now)).doomed == 3
    await prune(store)
    assert await objects(store) == await needed(store)
    assert await find_damage(store, (await read_manifests(store, ENVIRONMENT))[0], read_data=True) == []
    assert set(await read_garbage(store, ENVIRONMENT)) == unreferenced, "another prune may be slow"
    assert not (await survey(store, ENVIRONMENT, store.now)).due
    store.now += DAY
    await prune(store)
    assert await read_garbage(store, ENVIRONMENT) == {}


async def test_a_backup_takes_what_is_condemned_for_absent(store: MemoryStore) -> None:
    await prune(store, (await ids(store))[0])
    store.now += DAY
    listed = set(await read_garbage(store, ENVIRONMENT))
    manifest = await make_snapshot(store, store.now, packs(1, 2))
    assert manifest.inventory is not None
    assert not listed & set(await read_inventory(store, manifest.inventory))
    await prune(store)
    assert not listed & await objects(store)
    assert await find_damage(store, manifest, read_data=True) == []


async def test_a_backup_that_began_before_rescues_what_it_needs(store: MemoryStore) -> None:
    old = (await ids(store))[0]

    async def prune_meanwhile() -> None:
        store.now += HOUR
        await prune(store, old)
        store.now += HOUR

    manifest = await make_snapshot(store, store.now, packs(1, 2), pause=prune_meanwhile)
    assert set(await read_garbage(store, ENVIRONMENT)) & await needed(store)
    store.now += DAY
    await prune(store)
    assert await dangling(store) == []
    assert await find_damage(store, manifest, read_data=True) == []
    assert not set(await read_garbage(store, ENVIRONMENT)) & await needed(store)


async def test_the_objects_of_an_unfinished_backup_stay_while_it_may_go_on(store: MemoryStore) -> None:
    async def prune_for_hours() -> None:
        for _ in range(11):
            store.now += HOUR
            await prune(store)

    manifest = await make_snapshot(store, store.now, packs(7, 8), pause=prune_for_hours)
    assert await read_garbage(store, ENVIRONMENT) == {}
    assert await find_damage(store, manifest) == []


@pytest.mark.parametrize("after", [False, True])
async def test_killed_at_any_point_the_next_prune_ends_the_work(after: bool) -> None:
    number, died = 0, True
    while died:
        number += 1
        store = MemoryStore()
        old = await make_snapshot(store, store.now, packs(1, 2, 3))
        older = await make_snapshot(store, store.now - HOUR, packs(5, 2))
        new = await make_snapshot(store, store.now + HOUR, packs(2, 3, 4))
        store.now += DAY
        await prune(store, older.id)
        store.now += DAY
        setattr(store, "after" if after else "hook", killed_at(number))
        died = False
        try:
            await prune(store, old.id)
        except Killed:
            died = True
        store.hook = store.after = nothing
        assert await dangling(store) == []
        assert new.id in await ids(store)
        for _ in range(3):
            store.now += DAY
            await prune(store, *({old.id} & set(await ids(store))))
        assert await dangling(store) == []
        assert await ids(store) == [new.id]
        assert await objects(store) == await needed(store)
        assert {key.split("/")[2] for key in store.objects if key.startswith("backups/")} == {new.id, "garbage.json"}
    assert number == 7, "the list, a manifest, an inventory and three objects: each was a place to die"


@pytest.mark.parametrize(
    "broken",
    [("list", "objects/"), ("list", "backups/"), ("get", "inventory"), ("get", "manifest"), ("get", "garbage")],
)
async def test_a_store_that_cannot_be_read_loses_nothing(store: MemoryStore, broken: tuple[str, str]) -> None:
    await prune(store, (await ids(store))[0])
    store.now += DAY
    before = await objects(store)
    await condemn(store, ENVIRONMENT, store.now)
    store.hook = refusing(broken)
    with pytest.raises(StoreError):
        await condemn(store, ENVIRONMENT, store.now)
    with pytest.raises(StoreError):
        await sweep(store, ENVIRONMENT, lambda: store.now)
    store.hook = nothing
    assert await objects(store) == before


@pytest.mark.parametrize("what", ["inventory", "inventory gone", "manifest", "manifest of tomorrow"])
async def test_a_broken_inventory_or_manifest_loses_nothing(store: MemoryStore, what: str) -> None:
    old, new = await ids(store)
    await prune(store, old)
    store.now += DAY
    before = await objects(store)
    key = inventory_key(ENVIRONMENT, new) if "inventory" in what else manifest_key(ENVIRONMENT, new)
    if what == "inventory gone":
        await store.delete(key)
    else:
        await put_bytes(store, key, b'{"format": 3}' if "tomorrow" in what else b"\0broken")
    for _ in range(3):
        with pytest.raises(StoreError):
            await prune(store)
        store.now += DAY
    assert await objects(store) == before


@pytest.mark.parametrize("content", [b"", b"{", b'{"objects": 1}'])
async def test_a_broken_list_is_an_empty_one(store: MemoryStore, content: bytes) -> None:
    await prune(store, (await ids(store))[0])
    store.now += DAY
    before = await objects(store)
    await put_bytes(store, garbage_key(ENVIRONMENT), content)
    await prune(store)
    assert await objects(store) == before
    store.now += DAY
    await prune(store)
    assert await objects(store) == await needed(store)


async def test_what_a_store_refuses_to_delete_is_told_and_tried_again(store: MemoryStore) -> None:
    old = (await ids(store))[0]
    await prune(store, old)
    store.now += DAY
    await condemn(store, ENVIRONMENT, store.now)
    store.hook = refusing(("delete", "objects/"))
    swept = await sweep(store, ENVIRONMENT, lambda: store.now)
    assert (swept.removed, len(swept.refused)) == (1, 2)  # the index goes
    assert swept.why is not None
    assert "not allowed" in swept.why
    store.hook = nothing
    await prune(store)
    assert await objects(store) == await needed(store)


async def test_a_copy_that_is_being_made_is_a_claim(store: MemoryStore) -> None:
    old = (await ids(store))[0]
    inventory = store.objects[inventory_key(ENVIRONMENT, old)][0]
    await prune(store, old)
    store.now += DAY
    await condemn(store, ENVIRONMENT, store.now)
    await put_bytes(store, inventory_key(ENVIRONMENT, old), inventory)  # after the list was written, before the sweep
    assert (await sweep(store, ENVIRONMENT, lambda: store.now)).removed == 0
    await condemn(store, ENVIRONMENT, store.now)
    assert await read_garbage(store, ENVIRONMENT) == {}, "rescued"
    store.now += DAY
    await prune(store)
    assert inventory_key(ENVIRONMENT, old) not in store.objects, "a claim that nobody took up is stray after a day"


async def test_left_overs_of_dumps_go_after_a_day_and_failures_stay(store: MemoryStore) -> None:
    failure: Manifest = await make_failure(store, store.now)
    stray = backup_prefix(ENVIRONMENT, "20270101T000000Z-dead") + "0123.1/app.dump.zst"
    await put_bytes(store, stray, b"half a dump")
    store.now += DAY - 1
    await prune(store)
    assert stray in store.objects
    store.now += 1
    await prune(store)
    assert stray not in store.objects
    assert failure.id in await ids(store)


@pytest.mark.parametrize("sign", ["manifest.json", "0123.2/other.dump.zst"])
async def test_a_copy_that_goes_on_while_left_overs_are_swept_keeps_its_own(store: MemoryStore, sign: str) -> None:
    await prune(store, (await ids(store))[0])
    folder, other = (backup_prefix(ENVIRONMENT, f"20270101T000000Z-{run}") for run in ("dead", "beef"))
    for key in (f"{folder}0123.1/app.dump.zst", f"{other}0123.1/app.dump.zst"):
        await put_bytes(store, key, b"a dump without a manifest")
    store.now += DAY
    await condemn(store, ENVIRONMENT, store.now)

    async def goes_on(call: str, _key: str) -> None:
        if call == "delete":
            store.objects.setdefault(folder + sign, (b"{}", store.now))

    store.hook = goes_on  # at the first object of the pool
    swept = await sweep(store, ENVIRONMENT, lambda: store.now)
    assert f"{folder}0123.1/app.dump.zst" in store.objects
    assert f"{other}0123.1/app.dump.zst" not in store.objects
    assert swept.removed == 4, "three of the pool, and what is a left-over still"


async def test_a_prune_that_slept_for_hours_gives_up(store: MemoryStore) -> None:
    await prune(store, (await ids(store))[0])
    store.now += DAY
    await condemn(store, ENVIRONMENT, store.now)
    times = iter([store.now] + [store.now + 7 * HOUR] * 100)
    before = await objects(store)
    with suppress(StopIteration), pytest.raises(StoreError, match="six hours"):
        await sweep(store, ENVIRONMENT, lambda: next(times))
    assert await objects(store) == before
