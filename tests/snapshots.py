"""Backups made by hand: whole ones, as the engine `snapshot` stores them, without a server."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import zstandard

from fleet.backups import DatabaseSnapshot, Manifest, TableCopy, backup_id, read_manifests, write_manifest
from fleet.backups.chunks import Chunk, Chunks
from fleet.backups.garbage import read_garbage
from fleet.backups.index import TableIndex, digest, encode_index
from fleet.backups.manifest import INDEXES, pool_prefixes
from fleet.backups.pool import Pool, read_inventory, write_inventory
from fleet.errors import StoreError
from fleet.stores import Stat, Store

ENVIRONMENT = "qa"
HOUR, DAY = 3600.0, 86_400.0


def packs(*seeds: int, chunks: int = 3) -> list[list[bytes]]:
    """Content of packs: each seed is another one, the same seed the same."""
    made = []
    for seed in seeds:
        chance = random.Random(seed)  # noqa: S311
        made.append([chance.randbytes(2000 + chunk) for chunk in range(chunks)])
    return made


async def make_snapshot(
    store: Store,
    at: float,
    contents: Sequence[Sequence[bytes]],
    *,
    run: str = "0123abcd",
    succeeded: bool = True,
    pause: Callable[[], Awaitable[None]] | None = None,
) -> Manifest:
    """One database with one large table, whose chunks are `contents` by pack; `pause` comes before the manifest."""
    pool = Pool(store, ENVIRONMENT, frozenset(await read_garbage(store, ENVIRONMENT)))
    objects: list[str] = []
    chunks: list[Chunk] = []
    stored = 0
    for number, pack in enumerate(contents):
        frames = [zstandard.compress(chunk) for chunk in pack]
        offset = 0
        for plain, frame in zip(pack, frames, strict=True):
            block = len(chunks) * 8
            chunks.append(Chunk(block, 10, number, offset, len(frame), len(plain), digest(plain), ""))
            offset += len(frame)
        blob = await pool.put(b"".join(frames), sum(map(len, pack)))
        objects.append(blob.key)
        stored += blob.size_bytes
    index = TableIndex(
        format="binary", columns=("id",), signature="s", filenode=1, blocks=8, read_at=at,
        objects=tuple(objects), chunks=Chunks.of(chunks),
    )  # fmt: skip
    encoded = encode_index(index)
    plain_bytes = sum(chunk.plain_bytes for chunk in chunks)
    copy = TableCopy(
        schema_name="public", name="notes", rows=10 * len(chunks), plain_bytes=plain_bytes, stored_bytes=stored,
        chunks=await pool.put(encoded, len(encoded), INDEXES),
    )  # fmt: skip
    sql = [f"-- {section}".encode() for section in ("pre", f"data of {at}", "post")]
    texts = [await pool.put(zstandard.compress(text), len(text)) for text in sql]
    id_ = backup_id(at, run)
    snapshot = DatabaseSnapshot(
        name="app", owner="app", encoding="UTF8", collate="C", ctype="C", extensions={}, revisions=(),
        fingerprint="f", roles=(), identity="1", xid=1, pre_data=texts[0], data=texts[1], post_data=texts[2],
        tables=(), copies=(copy,),
    )  # fmt: skip
    if pause is not None:
        await pause()
    manifest = Manifest(
        id=id_, environment=ENVIRONMENT, started_at=at, finished_at=at + 60, succeeded=succeeded,
        error=None if succeeded else "it failed", snapshots=(snapshot,),
        inventory=await write_inventory(store, ENVIRONMENT, id_, pool.used),
    )  # fmt: skip
    await write_manifest(store, manifest)
    return manifest


async def make_failure(store: Store, at: float) -> Manifest:
    """The record of a run that failed."""
    manifest = Manifest(
        id=backup_id(at, "ffffffff"),
        environment=ENVIRONMENT,
        started_at=at,
        finished_at=at,
        succeeded=False,
        error="no",
    )
    await write_manifest(store, manifest)
    return manifest


async def dangling(store: Store) -> list[str]:
    """Objects that some backup needs and that are not there."""
    there = {stat.key for prefix in pool_prefixes(ENVIRONMENT) for stat in await store.list(prefix)}
    return [
        f"{manifest.id} lacks {key}"
        for manifest in await read_manifests(store, ENVIRONMENT)
        if manifest.inventory is not None
        for key in await read_inventory(store, manifest.inventory)
        if key not in there
    ]


class Killed(BaseException):
    """The process ended here."""


class MemoryStore(Store):
    """Objects in a dictionary, changed at `now` (unix seconds); `hook` is awaited before each call, by name and key.

    `after` is awaited when a change was made.
    """

    name = "memory"

    def __init__(self, _options: Store.Options | None = None) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.now = 1_800_000_000.0
        self.hook: Hook = nothing
        self.after: Hook = nothing

    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        await self.hook("put", key)
        whole = b"".join([part async for part in content])
        self.objects[key] = whole, self.now
        await self.after("put", key)
        return Stat(key, len(whole), self.now)

    async def get(self, key: str) -> AsyncIterator[bytes]:
        await self.hook("get", key)
        if key not in self.objects:
            raise StoreError(f"{key} is not there")
        yield self.objects[key][0]

    async def list(self, prefix: str = "") -> list[Stat]:
        await self.hook("list", prefix)
        return [Stat(key, len(one), at) for key, (one, at) in sorted(self.objects.items()) if key.startswith(prefix)]

    async def delete(self, key: str) -> None:
        await self.hook("delete", key)
        self.objects.pop(key, None)
        await self.after("delete", key)

    async def stat(self, key: str) -> Stat | None:
        await self.hook("stat", key)
        found = self.objects.get(key)
        return None if found is None else Stat(key, len(found[0]), found[1])


Hook = Callable[[str, str], Awaitable[None]]


async def nothing(_call: str, _key: str) -> None:
    """What happens mostly."""


def killed_at(number: int) -> Hook:
    """Ends the process at the `number`-th change of a store, and at all later ones."""
    left = [number]

    async def hook(call: str, _key: str) -> None:
        if call in ("put", "delete"):
            left[0] -= 1
            if left[0] <= 0:
                raise Killed

    return hook


def refusing(*forbidden: tuple[str, str]) -> Hook:
    """Fails calls of these names for keys that contain these texts."""

    async def hook(call: str, key: str) -> None:
        if any(call == name and text in key for name, text in forbidden):
            raise StoreError(f"{call} {key}: not allowed")

    return hook
