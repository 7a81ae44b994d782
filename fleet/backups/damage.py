"""What is wrong with a stored backup: from a look at what is there, or by reading every byte of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from fleet.backups.archive import find_dump_damage
from fleet.backups.catalogue import get_bytes
from fleet.backups.chunks import Chunk, Chunks, Contents
from fleet.backups.index import decode_index, digest
from fleet.backups.manifest import Blob, DatabaseDump, DatabaseSnapshot, Manifest, TableCopy, pool_prefixes
from fleet.backups.pool import Pool, read_inventory
from fleet.client_tools import find_tool
from fleet.errors import StoreError
from fleet.stores import Store

_AT_ONCE = 4  # objects of about 8 MiB in memory, and as much again while a chunk is decompressed

Tell = Callable[[int], None]  # bytes read so far


def tell_nobody(_done: int) -> None:
    """For whoever needs no progress."""


class Inspection:
    """Looks at backups of one environment in one store; what several of them share is listed and read once.

    `read_data` reads all: then checksums, what decompresses, and the chunks of tables are compared too; `read_dumps`
    (None: as `read_data`) is the same for dumps, which takes pg_restore. `bytes_read` counts; `damaged` are the objects
    of the pool that are there and not what they are called, which the next backup must not refer to.
    """

    def __init__(
        self,
        store: Store,
        environment: str,
        client_tools: Path | None = None,
        *,
        read_data: bool = False,
        read_dumps: bool | None = None,
        tell: Tell = tell_nobody,
    ) -> None:
        self.bytes_read = 0
        self.damaged: set[str] = set()
        self._store, self._environment, self._client_tools = store, environment, client_tools
        self._read_data, self._read_dumps = read_data, read_data if read_dumps is None else read_dumps
        self._tell = tell
        self._pool = Pool(store, environment)
        self._sizes: dict[str, int] | None = None
        self._problems: dict[str, list[str]] = {}  # of objects that were read whole
        self._good: dict[str, Contents] = {}  # what they were found to hold
        self._streamed: dict[Blob, str | None] = {}

    async def find_damage(self, manifest: Manifest) -> list[str]:
        """What is wrong with a backup; an empty list means that it is what its manifest says.

        Raises StoreError, ProcessError: it could not be looked into, so nothing is known.
        """
        problems = [problem for dump in manifest.databases for problem in await self._dump(dump)]
        if not manifest.snapshots:
            return problems
        if manifest.inventory is None:
            return [*problems, "it has no inventory: what it needs is unknown"]
        stat = await self._store.stat(manifest.inventory.key)
        size = None if stat is None else stat.size_bytes
        if problem := _wrong_size(manifest.inventory.key, size, manifest.inventory.size_bytes):
            return [*problems, problem]
        try:
            needed = await read_inventory(self._store, manifest.inventory)
        except StoreError as error:
            return [*problems, await self._damage(manifest.inventory.key, error)]
        problems += await self._look(needed, manifest.snapshots)
        if self._read_data and not problems:
            problems += await self._read(needed, manifest.snapshots)
        return problems

    async def _look(self, needed: dict[str, int], snapshots: Iterable[DatabaseSnapshot]) -> list[str]:
        if self._sizes is None:
            listed = [stat for prefix in pool_prefixes(self._environment) for stat in await self._store.list(prefix)]
            self._sizes = {stat.key: stat.size_bytes for stat in listed}
        problems = [_wrong_size(key, self._sizes.get(key), size) for key, size in needed.items()]
        self.damaged.update(key for key, size in needed.items() if self._sizes.get(key, size) != size)
        unnamed = [blob.key for one in snapshots for blob in _blobs(one) if needed.get(blob.key) != blob.size_bytes]
        return [problem for problem in problems if problem] + [f"{key} is not in the inventory" for key in unnamed]

    async def _read(self, needed: dict[str, int], snapshots: Iterable[DatabaseSnapshot]) -> list[str]:
        problems: list[str] = []
        chunks: dict[str, list[Chunks]] = {key: [] for key in needed}
        for snapshot in snapshots:
            for copy in snapshot.copies:
                problems += await self._index(copy, chunks)
            for blob in (snapshot.pre_data, snapshot.data, snapshot.post_data):
                problems += await self._stream(blob)
                chunks.pop(blob.key, None)
        places = asyncio.Semaphore(_AT_ONCE)

        async def check(key: str) -> list[str]:
            async with places:
                return await self._object(key, chunks[key])

        for found in await asyncio.gather(*map(check, chunks), return_exceptions=True):
            if isinstance(found, BaseException):
                raise found
            problems += found
        return list(dict.fromkeys(problems))

    async def _index(self, copy: TableCopy, chunks: dict[str, list[Chunks]]) -> list[str]:
        """What is wrong with the index of a table; its chunks are added to `chunks` by object."""
        name = f"{copy.schema_name}.{copy.name}"
        try:
            index = await asyncio.to_thread(decode_index, await self._pool.get(copy.chunks.key))
        except (StoreError, ValueError) as error:
            return [f"the index of {name} cannot be read: {await self._damage(copy.chunks.key, error)}"]
        problems = [f"{name} needs {key}, which is not in the inventory" for key in index.objects if key not in chunks]
        rows, plain = index.chunks.rows, index.chunks.plain_bytes
        if (rows, plain) != (copy.rows, copy.plain_bytes):
            problems.append(
                f"the index of {name} has {rows} rows, {plain} bytes instead of {copy.rows}, {copy.plain_bytes}"
            )
        for number, within in index.chunks.by_object():
            if number >= len(index.objects):
                return [*problems, f"the index of {name} names an object that it does not list"]
            if index.objects[number] in chunks:
                chunks[index.objects[number]].append(within)
        return problems

    async def _object(self, key: str, chunks: list[Chunks]) -> list[str]:
        new = Chunks.union(chunks).beyond(self._good.get(key))
        if key in self._problems and (self._problems[key] or not len(new)):
            return self._problems[key]
        try:
            content = await self._pool.get(key)
        except StoreError as error:
            self._problems[key] = [await self._damage(key, error)]
            return self._problems[key]
        self._count(len(content))
        right = await asyncio.to_thread(_right, content, new)
        self._problems.setdefault(key, [])
        good = Chunks(new.array[right]).contents
        self._good[key] = np.concatenate([self._good[key], good]) if key in self._good else good
        return [
            f"{key} holds other rows than the index says, {chunk.size_bytes} bytes at {chunk.offset}"
            for chunk in Chunks(new.array[~right])
        ]

    async def _dump(self, dump: DatabaseDump) -> list[str]:
        if self._read_dumps:
            self.bytes_read += dump.size_bytes
            return await find_dump_damage(self._store, dump, await find_tool("pg_restore", self._client_tools))
        stat = await self._store.stat(dump.key)
        problem = _wrong_size(dump.key, None if stat is None else stat.size_bytes, dump.size_bytes)
        return [problem] if problem else []

    async def _stream(self, blob: Blob) -> list[str]:
        """Read SQL: it may be of any size, and is compressed as a whole."""
        if blob not in self._streamed:
            reading = _Reading()
            async for part in self._store.get(blob.key):
                await asyncio.to_thread(reading.take, part)
                self._count(len(part))
            self._streamed[blob] = reading.problem(blob)
        problem = self._streamed[blob]
        if problem:
            self._note(blob.key)
        return [f"{blob.key} {problem}"] if problem else []

    async def _damage(self, key: str, error: StoreError | ValueError) -> str:
        """What is wrong with an object. Raises StoreError where it was the store that failed, not the object."""
        await get_bytes(self._store, key)
        self._note(key)
        return str(error)

    def _note(self, key: str) -> None:
        if key.startswith(pool_prefixes(self._environment)):
            self.damaged.add(key)

    def _count(self, size: int) -> None:
        self.bytes_read += size
        self._tell(self.bytes_read)


async def find_damage(
    store: Store, manifest: Manifest, client_tools: Path | None = None, *, read_data: bool = False
) -> list[str]:
    """What is wrong with one backup just taken; dumps are read back in any case, see `Inspection`.

    Raises StoreError, ProcessError: it could not be looked into, so nothing is known.
    """
    inspection = Inspection(store, manifest.environment, client_tools, read_data=read_data, read_dumps=True)
    return await inspection.find_damage(manifest)


class _Reading:
    """SQL in a zstd frame as it is read: what its bytes hash to, and how many they decompress to."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._plain_bytes = 0
        self._broken: str | None = None

    def take(self, part: bytes) -> None:
        self._hash.update(part)
        if self._broken is None:
            try:
                self._plain_bytes += len(self._frame.decompress(part)) if not self._frame.eof else 0
            except zstandard.ZstdError as error:
                self._broken = str(error)

    def problem(self, blob: Blob) -> str | None:
        if self._hash.hexdigest() != blob.key.rpartition("/")[2]:
            return "is damaged: it has another checksum than its name says"
        if self._broken or self._plain_bytes != blob.plain_bytes:
            return f"does not decompress: {self._broken or 'its end is missing'}"
        return None


def _wrong_size(key: str, size: int | None, expected: int) -> str | None:
    if size is None:
        return f"{key} is missing"
    return None if size == expected else f"{key} has {size} bytes instead of {expected}"


def _blobs(snapshot: DatabaseSnapshot) -> list[Blob]:
    return [snapshot.pre_data, snapshot.data, snapshot.post_data, *(copy.chunks for copy in snapshot.copies)]


def _right(content: bytes, chunks: Chunks) -> npt.NDArray[np.bool_]:
    view = memoryview(content)
    found = (_is_right(view[chunk.offset : chunk.offset + chunk.size_bytes], chunk) for chunk in chunks)
    return np.fromiter(found, bool, len(chunks))


def _is_right(frame: memoryview, chunk: Chunk) -> bool:
    try:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(frame)
    except zstandard.ZstdError:
        return False
    return len(plain) == chunk.plain_bytes and digest(plain) == chunk.digest
