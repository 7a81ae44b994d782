"""The chunks of one large table: which rows are where in which objects of the pool.

A chunk is the rows of a range of heap blocks as COPY gives them (binary: rows alone, without COPY's header and
trailer; text: whole lines), in a zstd frame of its own. An object of the pool holds such frames one after the other, so
a run of chunks that lie side by side in an object is decompressed as one stream.

Stored as JSON in a zstd frame:

    {"format": "binary", "columns": ["id", "embedding"], "signature": "...", "filenode": 16402, "blocks": 2,
     "read_at": 1790000000.0, "objects": ["objects/qa/ab/abcd..."],
     "chunks": [[block, rows, object, offset, size_bytes, plain_bytes, "digest", "seen"], ...]}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

import zstandard
from blake3 import blake3
from pydantic import TypeAdapter

from fleet.backups.manifest import Fact

BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # flags and the length of the extension: none
BINARY_TRAILER = b"\xff\xff"
_LEVEL = 3


class Chunk(NamedTuple):
    """`rows` rows of the heap blocks from `block` on: `size_bytes` at `offset` in `objects[object]`.

    `digest` is of the `plain_bytes` when decompressed; `seen` is of the (ctid, xmin) of its rows, "" where unknown.
    """

    block: int
    rows: int
    object: int
    offset: int
    size_bytes: int
    plain_bytes: int
    digest: str
    seen: str


class TableIndex(Fact):
    """All chunks of a table in order of `block`; a chunk spans `blocks` heap blocks (0: there is but one chunk range).

    `signature` is of what else the bytes depend on (columns, types, server); `filenode` of the heap; `read_at` when all
    rows were last read (unix seconds), rather than taken for unchanged.
    """

    format: Literal["binary", "text"]
    columns: tuple[str, ...]
    signature: str
    filenode: int
    blocks: int
    read_at: float
    objects: tuple[str, ...]
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """Chunks that lie side by side in one object: `size_bytes` from `offset` on decompress to their rows."""

    key: str
    chunks: tuple[Chunk, ...]

    @property
    def offset(self) -> int:
        return self.chunks[0].offset

    @property
    def size_bytes(self) -> int:
        return sum(chunk.size_bytes for chunk in self.chunks)

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


_INDEX = TypeAdapter(TableIndex)


def encode_index(index: TableIndex) -> bytes:
    """The index as it is stored."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(_INDEX.dump_json(index))


def decode_index(stored: bytes) -> TableIndex:
    """Raises ValueError where it is broken."""
    try:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(stored)
    except zstandard.ZstdError as error:
        raise ValueError(f"the index does not decompress: {error}") from error
    return _INDEX.validate_json(plain)


def digest(plain: bytes | memoryview) -> str:
    """What a chunk's content is known by: the first 128 bits of its BLAKE3, which takes a third of SHA-256's time."""
    return blake3(plain).hexdigest(length=16)


def runs_by_object(index: TableIndex) -> Iterator[tuple[str, list[Run]]]:
    """Every object that is needed, once, with the runs in it; in order of the first block that is in each."""
    places: dict[int, list[Chunk]] = {}
    for chunk in index.chunks:
        places.setdefault(chunk.object, []).append(chunk)
    for number, chunks in places.items():
        key = index.objects[number]
        yield key, [Run(key, run) for run in _side_by_side(sorted(chunks, key=lambda chunk: chunk.offset))]


def _side_by_side(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, ...]]:
    start = 0
    gaps = []
    end = chunks[0].offset
    for chunk in chunks:
        start += chunk.offset != end
        gaps.append(start)
        end = chunk.offset + chunk.size_bytes
    for _, group in groupby(zip(gaps, chunks, strict=True), key=lambda pair: pair[0]):
        yield tuple(chunk for _, chunk in group)
