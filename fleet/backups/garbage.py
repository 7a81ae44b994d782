"""Which objects of a pool no backup needs any more, and their removal: without locks, beside running backups, after
a crash at any point.

`backups/ENV/garbage.json` lists what a prune saw unreferenced, and since when. What has been there for a day, and no
backup that was there at the beginning of a prune needs it, is *doomed*: marked so in the list first, then deleted. It
stays on the list for a day after that, for another prune may be slow. This is safe because

- whoever stores a backup reads the list when it begins, refers to nothing on it (`Pool` gives the same content
  another name), and ends within `BACKUP_HOURS`: what is doomed can come into use no more;
- whoever copies a backup, whose names are given, writes its inventory first (a claim), then reads the list, and gives
  up if it needs what is doomed; a prune reads the claims again after it wrote the list: one of the two sees the other;
- a prune puts on the list what the backups it removes needed, anew from now on, before it removes them.

A lost or broken list is an empty one: everything waits for another day. A store, a manifest or an inventory that cannot
be read is unknown: then nothing is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from pydantic import TypeAdapter, ValidationError

from fleet.backups.catalogue import get_bytes, put_bytes, read_manifests
from fleet.backups.manifest import (
    ROOT,
    Blob,
    backup_prefix,
    inventory_key,
    manifest_key,
    pool_prefixes,
)
from fleet.backups.pool import read_inventory
from fleet.errors import StoreError
from fleet.stores import Stat, Store

log = structlog.get_logger()

BACKUP_HOURS = 12.0  # a backup, and a copy of one, takes at most so long
_BACKUP_SECONDS = BACKUP_HOURS * 3600
_WAIT_SECONDS = 24 * 3600.0
_PRUNE_SECONDS = 6 * 3600.0
_AT_ONCE = 16


class Entry(NamedTuple):
    """Seen unreferenced at `since`; `doomed` is when its removal was decided, None: not yet. Unix seconds."""

    since: float
    doomed: float | None = None


Garbage = Mapping[str, Entry]
_GARBAGE = TypeAdapter(dict[str, Entry])


@dataclass(frozen=True, slots=True)
class Survey:
    """What a prune would do to the pool: `garbage` is the list that it would write.

    `added` objects come onto the list, `rescued` are needed again, `doomed` can be removed; `bytes` of the doomed.
    `stray` are objects of backups that were never finished, or were half removed, more than a day ago.
    """

    garbage: Garbage
    added: int
    rescued: int
    doomed: int
    bytes: int
    stray: tuple[str, ...]

    @property
    def due(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.added or self.rescued or self.doomed or self.stray)


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed; `refused` are the keys that the store would not delete (locked, or out of order), and why."""

    removed: int
    bytes: int
    refused: tuple[str, ...]
    why: str | None = None


def garbage_key(environment: str) -> str:
    return f"{ROOT}/{environment}/garbage.json"


async def read_garbage(store: Store, environment: str) -> dict[str, Entry]:
    """The list; whoever stores a backup must not refer to what is on it. Raises StoreError."""
    key = garbage_key(environment)
    if await store.stat(key) is None:
        return {}
    try:
        return _GARBAGE.validate_json(await get_bytes(store, key))
    except ValidationError as error:
        log.warning("garbage_list_unreadable", key=key, problem=error.errors()[0]["msg"])
        return {}


async def survey(store: Store, environment: str, now: float, removing: Collection[str] = ()) -> Survey:
    """Look what is unreferenced once the backups `removing` (ids) are gone. Changes nothing.

    Raises:
        StoreError: something cannot be read, so that nothing may be removed.
    """
    known = await read_garbage(store, environment)  # before the pool: what is missing there may be being removed
    needs = await _needs(store, environment, now)
    pool = await _pool(store, environment)
    before = set().union(*needs.values())
    after = set().union(*(objects for id_, objects in needs.items() if id_ not in removing))
    entries: dict[str, Entry] = {}
    for key in (pool.keys() | known.keys()) - after:
        entry = _next(known.get(key), pool.get(key), now, needed=key in before)
        if entry is not None:
            entries[key] = entry
    doomed = [pool[key] for key, entry in entries.items() if entry.doomed == now and key in pool]
    return Survey(
        entries,
        added=len(entries.keys() - known.keys()),
        rescued=len(known.keys() & after),
        doomed=len(doomed),
        bytes=sum(stat.size_bytes for stat in doomed),
        stray=await _stray(store, environment, now),
    )


def _next(entry: Entry | None, stat: Stat | None, now: float, *, needed: bool) -> Entry | None:
    """What the list says next of an object that no backup will need; `needed`: until now one did."""
    if needed:
        return Entry(now) if stat is not None else None
    if stat is None:  # the tombstone stays, for another prune may be about to delete what comes there now
        doomed = now if entry is None or entry.doomed is None else entry.doomed
        return Entry(entry.since, doomed) if entry is not None and now - doomed < _WAIT_SECONDS else None
    if entry is None:  # a young one may belong to a backup that is not finished
        return Entry(now) if now - stat.modified >= _BACKUP_SECONDS else None
    return Entry(entry.since, now) if now - entry.since >= _WAIT_SECONDS else entry


async def condemn(store: Store, environment: str, now: float, removing: Collection[str] = ()) -> Survey:
    """Write the list anew, before the backups `removing` are removed. Raises StoreError."""
    found = await survey(store, environment, now, removing)
    await put_bytes(store, garbage_key(environment), _GARBAGE.dump_json(dict(found.garbage)))
    return found


async def remove_backup(store: Store, environment: str, id_: str) -> None:
    """Remove a backup but for its objects in the pool: the manifest first, so that it is never half there.

    Raises StoreError, also where the store refuses.
    """
    await store.delete(manifest_key(environment, id_))
    for stat in await store.list(backup_prefix(environment, id_)):
        await store.delete(stat.key)


async def sweep(store: Store, environment: str, now: Callable[[], float]) -> Swept:
    """Delete what the list says is doomed, unless somebody has claimed it since, and what is stray.

    What the store refuses to delete is told, and tried again by the next prune. Raises StoreError where something
    cannot be read, or after six hours: by then the list may be another.
    """
    begun = now()
    garbage = await read_garbage(store, environment)
    needed = set().union(*(await _needs(store, environment, begun)).values())
    pool = await _pool(store, environment)
    doomed = [stat for key, stat in pool.items() if key not in needed and key in garbage and garbage[key].doomed]
    sizes = {stat.key: stat.size_bytes for stat in doomed}
    stray = await _stray(store, environment, begun)
    places, removed, refused = asyncio.Semaphore(_AT_ONCE), list[str](), dict[str, str]()

    async def delete(key: str) -> None:
        async with places:
            if now() - begun > _PRUNE_SECONDS:
                raise StoreError("removing garbage took more than six hours", hint="the next prune goes on")
            # whoever copies that backup may have gone on meanwhile
            if key not in sizes and key not in await _stray(store, environment, begun, f"{_id(key)}/"):
                return
            try:
                await store.delete(key)
            except StoreError as error:
                refused[key] = error.message
            else:
                removed.append(key)

    for result in await asyncio.gather(*map(delete, (*sizes, *stray)), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
    why = next(iter(refused.values()), None)
    return Swept(len(removed), sum(sizes.get(key, 0) for key in removed), tuple(refused), why)


async def _needs(store: Store, environment: str, now: float) -> dict[str, set[str]]:
    """What each backup needs of the pool, by its id; also those whose inventory is there, and no manifest yet."""
    listed = await store.list(f"{ROOT}/{environment}/")
    manifests = {manifest.id: manifest for manifest in await read_manifests(store, environment)}
    inventories: dict[str, Blob] = {}
    for stat in listed:
        id_ = _id(stat.key)
        if stat.key == manifest_key(environment, id_) and id_ not in manifests and await store.stat(stat.key):
            raise StoreError(f"{stat.key} cannot be understood: nothing is removed", hint="is it of a later version?")
        if stat.key == inventory_key(environment, id_) and now - stat.modified < _WAIT_SECONDS:
            inventories[id_] = Blob(key=stat.key, size_bytes=stat.size_bytes, plain_bytes=0)
    for id_, manifest in manifests.items():
        if manifest.inventory is not None:
            inventories[id_] = manifest.inventory
        elif manifest.snapshots:
            raise StoreError(f"{id_} has no inventory: what it needs is unknown, nothing is removed")
    places = asyncio.Semaphore(_AT_ONCE)

    async def read(blob: Blob) -> set[str]:
        async with places:
            try:
                return set(await read_inventory(store, blob))
            except StoreError:
                if await store.stat(manifest_key(environment, _id(blob.key))) is None and not await store.stat(
                    blob.key
                ):
                    return set()  # removed since it was listed
                raise

    return dict(zip(inventories, await asyncio.gather(*map(read, inventories.values())), strict=True))


async def _pool(store: Store, environment: str) -> dict[str, Stat]:
    return {stat.key: stat for prefix in pool_prefixes(environment) for stat in await store.list(prefix)}


async def _stray(store: Store, environment: str, now: float, folder: str = "") -> tuple[str, ...]:
    """Objects in folders of backups without a manifest, if all in there are older than a day; `folder`: in this one."""
    folders: dict[str, list[Stat]] = {}
    for stat in await store.list(f"{ROOT}/{environment}/{folder}"):
        if stat.key.count("/") >= 3:
            folders.setdefault(_id(stat.key), []).append(stat)
    return tuple(
        stat.key
        for id_, stats in folders.items()
        if all(now - stat.modified >= _WAIT_SECONDS and stat.key != manifest_key(environment, id_) for stat in stats)
        for stat in stats
    )


def _id(key: str) -> str:
    """Of the backup in whose folder it is."""
    return key.split("/")[2]
