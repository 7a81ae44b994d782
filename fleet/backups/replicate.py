"""Copy one backup from a store into another: only the objects that are missing there, the manifest last."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from fleet.backups.catalogue import get_bytes, put_bytes
from fleet.backups.garbage import read_garbage
from fleet.backups.manifest import PIN, PROOF, DatabaseDump, Manifest, backup_prefix, manifest_key, pool_prefixes
from fleet.backups.pool import missing_objects, read_damaged, read_inventory, write_damaged
from fleet.errors import CustodeError, StoreError
from fleet.stores import Store

_AT_ONCE = 8

Tell = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass(frozen=True, slots=True)
class Copied:
    """What was not there before."""

    objects: int
    bytes: int


def tell_nobody(_done: int, _total: int) -> None:
    """For whoever needs no progress."""


async def replicate(source: Store, target: Store, manifest: Manifest, tell: Tell = tell_nobody) -> Copied:
    """Copy a backup; what is there already is not sent again, so it goes on where an earlier call ended.

    What is read is checked against the checksum that names it. Pin and proof go with it.

    Raises:
        StoreError: a store fails; an object of the source is damaged; or the target is about to delete an object of
            that name, so that it can be copied a day later.
    """
    dumps = [dump for dump in manifest.databases if not await _is_there(target, dump)]
    await _claim(source, target, manifest)
    objects = await _lacking(source, target, manifest)
    sizes = objects | {dump.key: dump.size_bytes for dump in dumps}
    done, total = 0, sum(sizes.values())
    places = asyncio.Semaphore(_AT_ONCE)

    async def copy(key: str) -> None:
        nonlocal done
        async with places:
            await _copy(source, target, key, key.rpartition("/")[2])
        done += sizes[key]
        tell(done, total)

    try:
        async with asyncio.TaskGroup() as group:
            for key in objects:
                group.create_task(copy(key))
    except* CustodeError as failed:
        raise _first(failed) from failed
    damaged = await read_damaged(target, manifest.environment)
    if damaged & objects.keys():
        await write_damaged(target, manifest.environment, damaged - objects.keys())
    for dump in dumps:
        await _copy(source, target, dump.key, dump.sha256)
        done += dump.size_bytes
        tell(done, total)
    await _finish(source, target, manifest)
    return Copied(len(sizes), total)


async def _finish(source: Store, target: Store, manifest: Manifest) -> None:
    await _claim(source, target, manifest)  # again: a prune may have taken an old claim of ours for a stray object
    if await _lacking(source, target, manifest) or not all(
        [await _is_there(target, one) for one in manifest.databases]
    ):
        raise StoreError(f"objects of {manifest.id} vanished from the copy meanwhile", hint="copy it again")
    await copy_notes(source, target, manifest)
    key = manifest_key(manifest.environment, manifest.id)
    await put_bytes(target, key, await get_bytes(source, key))


async def copy_notes(source: Store, target: Store, manifest: Manifest) -> None:
    """Copy what is said of a backup beside its manifest. Raises StoreError."""
    for name, fact in ((PIN, manifest.pin), (PROOF, manifest.proof)):
        key = backup_prefix(manifest.environment, manifest.id) + name
        if fact is not None:
            await put_bytes(target, key, await get_bytes(source, key))


async def _claim(source: Store, target: Store, manifest: Manifest) -> None:
    """Store the inventory, so that no prune removes from now on what we need."""
    if manifest.inventory is None:
        return
    objects = await read_inventory(source, manifest.inventory)
    await put_bytes(target, manifest.inventory.key, await get_bytes(source, manifest.inventory.key))
    garbage = await read_garbage(target, manifest.environment)  # after the claim, see fleet.backups.garbage
    if any(garbage[key].doomed for key in objects.keys() & garbage.keys()):
        raise StoreError(
            f"{manifest.id} needs objects that are being removed from the copy", hint="it can be copied a day later"
        )


async def _lacking(source: Store, target: Store, manifest: Manifest) -> dict[str, int]:
    """What of the pool is missing in the copy, has another size there, or was found damaged."""
    if manifest.inventory is None:
        return {}
    objects = await read_inventory(source, manifest.inventory)
    missing = await missing_objects(target, pool_prefixes(manifest.environment), objects)
    damaged = await read_damaged(target, manifest.environment)
    return {key: objects[key] for key in sorted({*missing, *(damaged & objects.keys())})}


async def _is_there(target: Store, dump: DatabaseDump) -> bool:
    stat = await target.stat(dump.key)
    return stat is not None and stat.size_bytes == dump.size_bytes


async def _copy(source: Store, target: Store, key: str, sha256: str) -> None:
    async with aclosing(_checked(source, key, sha256)) as parts:
        await target.put(key, parts)


async def _checked(source: Store, key: str, sha256: str) -> AsyncGenerator[bytes, None]:
    digest = hashlib.sha256()
    async for part in source.get(key):
        await asyncio.to_thread(digest.update, part)
        yield part
    if digest.hexdigest() != sha256:  # before the end, so that no store keeps it
        raise StoreError(f"{key} is damaged: it has another checksum than when it was written")


def _first(failed: BaseExceptionGroup[CustodeError]) -> CustodeError:
    for one in failed.exceptions:
        return _first(one) if isinstance(one, BaseExceptionGroup) else one
    raise failed  # a group is never empty
