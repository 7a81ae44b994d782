from __future__ import annotations

import pytest
import zstandard

from fleet.backups import Manifest
from fleet.backups.chunks import Chunks
from fleet.backups.damage import Inspection, find_damage
from fleet.backups.index import decode_index, encode_index
from fleet.backups.manifest import INDEXES, POOL, DatabaseDump, TableCopy
from fleet.backups.pool import Pool, read_inventory, write_inventory
from fleet.errors import StoreError
from tests.snapshots import ENVIRONMENT, MemoryStore, make_snapshot, packs, refusing


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def manifest(store: MemoryStore) -> Manifest:
    return await make_snapshot(store, store.now, packs(1, 2))


def copy_of(manifest: Manifest) -> TableCopy:
    return manifest.snapshots[0].copies[0]


async def test_a_whole_backup_has_none(store: MemoryStore, manifest: Manifest) -> None:
    assert await find_damage(store, manifest) == []
    assert await find_damage(store, manifest, read_data=True) == []


async def test_each_object_that_is_gone_or_cut_is_told(store: MemoryStore, manifest: Manifest) -> None:
    assert manifest.inventory is not None
    needed = await read_inventory(store, manifest.inventory)
    assert len(needed) == 2 + 1 + 3
    for key in needed:
        content, at = store.objects.pop(key)
        assert await find_damage(store, manifest) == [f"{key} is missing"]
        store.objects[key] = content[:-1], at
        assert await find_damage(store, manifest) == [f"{key} has {len(content) - 1} bytes instead of {len(content)}"]
        store.objects[key] = content, at


async def test_a_flipped_bit_is_found_by_reading_only(store: MemoryStore, manifest: Manifest) -> None:
    assert manifest.inventory is not None
    for key in await read_inventory(store, manifest.inventory):
        content, at = store.objects[key]
        store.objects[key] = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:], at
        assert await find_damage(store, manifest) == []
        inspection = Inspection(store, ENVIRONMENT, read_data=True)
        (problem, *_) = await inspection.find_damage(manifest)
        assert key in problem or "public.notes" in problem
        assert inspection.damaged == {key}
        store.objects[key] = content, at


@pytest.mark.parametrize("lost", [True, False])
async def test_an_inventory_that_is_lost_or_broken(store: MemoryStore, manifest: Manifest, lost: bool) -> None:
    assert manifest.inventory is not None
    content, at = store.objects.pop(manifest.inventory.key)
    if not lost:
        store.objects[manifest.inventory.key] = content[:20] + b"?" + content[21:], at
    (problem,) = await find_damage(store, manifest)
    assert problem.startswith(manifest.inventory.key)
    assert ("is missing" in problem) == lost
    bare = manifest.model_copy(update={"inventory": None})
    assert await find_damage(store, bare) == ["it has no inventory: what it needs is unknown"]


async def _with_index(store: MemoryStore, manifest: Manifest, **changes: object) -> Manifest:
    """The backup with another index, which its inventory knows."""
    copy = copy_of(manifest)
    index = decode_index(await Pool(store, ENVIRONMENT).get(copy.chunks.key)).model_copy(update=changes)
    pool = Pool(store, ENVIRONMENT)
    encoded = encode_index(index)
    blob = await pool.put(encoded, len(encoded), INDEXES)
    assert manifest.inventory is not None
    inventory = await read_inventory(store, manifest.inventory) | pool.used
    snapshot = manifest.snapshots[0].model_copy(update={"copies": (copy.model_copy(update={"chunks": blob}),)})
    written = await write_inventory(store, ENVIRONMENT, manifest.id, inventory)
    return manifest.model_copy(update={"snapshots": (snapshot,), "inventory": written})


async def test_an_index_that_says_what_is_not_so(store: MemoryStore, manifest: Manifest) -> None:
    index = decode_index(await Pool(store, ENVIRONMENT).get(copy_of(manifest).chunks.key))
    first = index.chunks[0]
    cases = {
        "51 rows": (first._replace(rows=1), *index.chunks[1:]),
        "holds other rows": (first._replace(digest="0" * 32), *index.chunks[1:]),
        "does not list": (first._replace(object=9), *index.chunks[1:]),
        "50 rows": index.chunks[1:],
    }
    for said, chunks in cases.items():
        changed = await _with_index(store, manifest, chunks=Chunks.of(chunks))
        assert await find_damage(store, changed) == []
        assert said in "; ".join(await find_damage(store, changed, read_data=True))
    changed = await _with_index(store, manifest, objects=("objects/qa/ab/abcd", *index.objects[1:]))
    assert "not in the inventory" in "; ".join(await find_damage(store, changed, read_data=True))


async def test_an_index_that_cannot_be_decoded(store: MemoryStore, manifest: Manifest) -> None:
    pool = Pool(store, ENVIRONMENT)
    blob = await pool.put(zstandard.compress(b"[]"), 2, INDEXES)
    assert manifest.inventory is not None
    inventory = await read_inventory(store, manifest.inventory) | pool.used
    copy = copy_of(manifest).model_copy(update={"chunks": blob})
    changed = manifest.model_copy(
        update={
            "snapshots": (manifest.snapshots[0].model_copy(update={"copies": (copy,)}),),
            "inventory": await write_inventory(store, ENVIRONMENT, manifest.id, inventory),
        }
    )
    (problem,) = await find_damage(store, changed, read_data=True)
    assert problem.startswith("the index of public.notes cannot be read")


async def test_a_blob_that_the_inventory_does_not_name(store: MemoryStore, manifest: Manifest) -> None:
    written = await write_inventory(store, ENVIRONMENT, manifest.id, {})
    problems = await find_damage(store, manifest.model_copy(update={"inventory": written}))
    assert len(problems) == 4
    assert all(problem.endswith("is not in the inventory") for problem in problems)


async def test_what_backups_share_is_read_once(store: MemoryStore, manifest: Manifest) -> None:
    second = await make_snapshot(store, store.now + 60, packs(1, 2))
    inspection = Inspection(store, ENVIRONMENT, read_data=True)
    assert await inspection.find_damage(manifest) == []
    first_bytes = inspection.bytes_read
    assert await inspection.find_damage(second) == []
    assert inspection.bytes_read - first_bytes < first_bytes / 10
    key = next(key for key in store.objects if key.startswith(POOL))
    assert await inspection.find_damage(second) == [], "it was sound when it was read"
    store.objects[key] = store.objects[key][0][:-1] + b"?", store.now
    damaged = Inspection(store, ENVIRONMENT, read_data=True)
    assert await damaged.find_damage(manifest)
    assert await damaged.find_damage(manifest)


async def test_a_dump_is_looked_at_without_tools(store: MemoryStore) -> None:
    dump = DatabaseDump(name="app", key="backups/qa/x/app.dump.zst", size_bytes=5, plain_bytes=5, sha256="")
    manifest = Manifest(
        id="x", environment=ENVIRONMENT, started_at=1, finished_at=2, succeeded=True, engine="custom", databases=(dump,)
    )
    inspection = Inspection(store, ENVIRONMENT)
    assert await inspection.find_damage(manifest) == [f"{dump.key} is missing"]
    store.objects[dump.key] = b"four", 0.0
    assert await inspection.find_damage(manifest) == [f"{dump.key} has 4 bytes instead of 5"]
    store.objects[dump.key] = b"fives", 0.0
    assert await inspection.find_damage(manifest) == []


@pytest.mark.parametrize(
    "broken", [("list", "objects"), ("get", "inventory"), ("stat", "inventory"), ("get", "objects"), ("get", "indexes")]
)
async def test_a_store_that_cannot_be_read_is_no_damage(
    store: MemoryStore, manifest: Manifest, broken: tuple[str, str]
) -> None:
    store.hook = refusing(broken)
    with pytest.raises(StoreError, match="not allowed"):
        await find_damage(store, manifest, read_data=True)
