"""Reads what a snapshot holds: the rows of large tables, and SQL; checked against their hashes, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import zstandard

from fleet.backups.chunks import Chunk, Chunks
from fleet.backups.index import TableIndex, decode_index, digest
from fleet.backups.manifest import Blob, TableCopy
from fleet.backups.pool import Pool
from fleet.errors import StoreError

PART_BYTES = 64 << 20  # stored: small enough to be done again, large enough to pay for a COPY of its own
_BATCH_BYTES = 1 << 20  # decompressed in one go: fewer hops between the loop and the threads
_PREFETCH = 1  # objects that are fetched while another is decompressed


@dataclass(frozen=True, slots=True)
class Part:
    """Some objects of a table, whole, each with the chunks in it."""

    objects: tuple[tuple[str, Chunks], ...]

    @property
    def rows(self) -> int:
        return sum(chunks.rows for _, chunks in self.objects)

    @property
    def plain_bytes(self) -> int:
        return sum(chunks.plain_bytes for _, chunks in self.objects)


async def read_index(pool: Pool, copy: TableCopy) -> TableIndex:
    """Raises StoreError where it is missing or broken, or has not as many rows as the manifest says."""
    stored = await pool.get(copy.chunks.key)
    try:
        index = await asyncio.to_thread(decode_index, stored)
    except ValueError as error:
        raise StoreError(f"{copy.chunks.key} is damaged: {error}") from error
    rows = index.chunks.rows
    if rows != copy.rows:
        raise StoreError(f"{copy.chunks.key} has {rows} rows of {copy.schema_name}.{copy.name}, not {copy.rows}")
    return index


def split(index: TableIndex, part_bytes: int = PART_BYTES) -> list[Part]:
    """The table in parts of about so many stored bytes each, in order; no object is in two of them.

    The same for whoever asks, so that what one process has loaded can be told to another.
    """
    parts: list[Part] = []
    objects: list[tuple[str, Chunks]] = []
    size = 0
    for number, chunks in index.chunks.by_object():
        objects.append((index.objects[number], chunks))
        size += chunks.size_bytes
        if size >= part_bytes:
            parts.append(Part(tuple(objects)))
            objects, size = [], 0
    return [*parts, Part(tuple(objects))] if objects else parts


async def read_rows(pool: Pool, part: Part) -> AsyncGenerator[bytes, None]:
    """The rows as COPY gave them, about a megabyte at a time and never less than whole chunks.

    At most two objects and one batch are in memory.

    Raises:
        StoreError: an object is missing or damaged; what was given before is good.
    """
    async with aclosing(_fetch(pool, [key for key, _ in part.objects])) as contents:
        for key, chunks in part.objects:
            content = memoryview(await anext(contents))
            for batch in _batches(chunks):
                yield await asyncio.to_thread(_decompress, key, content, batch)
            del content  # before the one after the next is fetched


async def read_text(pool: Pool, blob: Blob) -> AsyncGenerator[bytes, None]:
    """The SQL that `Pool.put_file` stored, in parts.

    Raises:
        StoreError: it is missing or damaged; told at the end at the latest, so nothing may be kept before that.
    """
    told, frame, size = hashlib.sha256(), zstandard.ZstdDecompressor().decompressobj(), 0
    async for part in pool.store.get(blob.key):
        told.update(part)
        try:
            plain = await asyncio.to_thread(frame.decompress, part)
        except zstandard.ZstdError as error:
            raise StoreError(f"{blob.key} is damaged: {error}") from error
        size += len(plain)
        yield plain
    if told.hexdigest() != blob.key.rpartition("/")[2] or size != blob.plain_bytes:
        raise StoreError(f"{blob.key} is damaged: it has another checksum")


async def _fetch(pool: Pool, keys: Sequence[str]) -> AsyncGenerator[bytes, None]:
    """The objects in order, the next ones under way; those are ended with the generator."""
    waiting = iter(keys)
    tasks: deque[asyncio.Future[bytes]] = deque()
    try:
        while True:
            while len(tasks) <= _PREFETCH and (key := next(waiting, None)) is not None:
                tasks.append(asyncio.ensure_future(pool.get(key)))
            if not tasks:
                return
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += chunk.plain_bytes
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decompress(key: str, content: memoryview, batch: Sequence[Chunk]) -> bytes:
    """In a thread."""
    decompressor = zstandard.ZstdDecompressor()
    rows: list[bytes] = []
    for chunk in batch:
        frame = content[chunk.offset : chunk.offset + chunk.size_bytes]
        try:
            plain = decompressor.decompress(frame, max_output_size=max(1, chunk.plain_bytes))
        except zstandard.ZstdError as error:
            raise StoreError(f"{key} is damaged: a chunk does not decompress ({error})") from error
        if len(plain) != chunk.plain_bytes or digest(plain) != chunk.digest:
            raise StoreError(f"{key} holds other rows than the index says, of block {chunk.block} on")
        rows.append(plain)
    return b"".join(rows)
