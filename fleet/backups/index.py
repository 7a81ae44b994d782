"""The chunks of one large table: which rows are where in which objects of the pool.

A chunk is the rows of a range of heap blocks as COPY gives them (binary: rows alone, without COPY's header and
trailer; text: whole lines), in a zstd frame of its own. An object of the pool holds such frames one after the other.

Stored as JSON in a zstd frame:

    {"format": "binary", "columns": ["id", "embedding"], "signature": "...", "filenode": 16402, "blocks": 2,
     "read_at": 1790000000.0, "objects": ["objects/qa/ab/abcd..."],
     "chunks": [[block, rows, object, offset, size_bytes, plain_bytes, "digest", "seen"], ...]}

`chunks` are most of it: they come behind what tells of them, and are written and read some at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal

import zstandard
from blake3 import blake3
from pydantic import ConfigDict

from fleet.backups.chunks import Chunk, Chunks, pack
from fleet.backups.manifest import Fact

BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # flags and the length of the extension: none
BINARY_TRAILER = b"\xff\xff"
_LEVEL = 3
_BATCH = 2000  # chunks
_BATCH_BYTES = 1 << 18
_CHUNKS = re.compile(rb',\s*"chunks"\s*:\s*\[')
_END = re.compile(rb"(?:\A|(?<=\]))\s*\]")  # a bracket behind one of a chunk: digests have none


class TableFacts(Fact):
    """What is known of a table's chunks; each spans `blocks` heap blocks (0: there is but one chunk range).

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


class TableIndex(TableFacts):
    """All chunks of a table in order of `block`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    chunks: Chunks


def encode_index(index: TableIndex) -> bytes:
    """The index as it is stored."""
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    return b"".join([*(frame.compress(part) for part in _written(index)), frame.flush()])


def _written(index: TableIndex) -> Iterator[bytes]:
    yield index.model_dump_json(exclude={"chunks"}).encode().removesuffix(b"}") + b',"chunks":['
    for start in range(0, len(index.chunks), _BATCH):
        rows = json.dumps(list(index.chunks[start : start + _BATCH]), separators=(",", ":"))[1:-1]
        yield (f",{rows}" if start else rows).encode()
    yield b"]}"


def decode_index(stored: bytes) -> TableIndex:
    """Raises ValueError where it is broken."""
    parts = _decompressed(stored)
    text = b""
    while (begin := _CHUNKS.search(text)) is None:
        text += _more(parts)
    facts, text = text[: begin.start()], text[begin.end() :]
    packed = bytearray()
    while (end := _END.search(text)) is None:
        cut = text.rfind(b"]") + 1
        packed += _packed(text[:cut])
        text = text[cut:] + _more(parts)
    packed += _packed(text[: end.start()])
    known = TableFacts.model_validate_json(b"".join([facts, text[end.end() :], *parts]))
    return TableIndex(**dict(known), chunks=Chunks.unpack(packed))


def _decompressed(stored: bytes) -> Iterator[bytes]:
    try:
        with zstandard.ZstdDecompressor().stream_reader(stored) as reader:
            while part := reader.read(_BATCH_BYTES):
                yield part
    except zstandard.ZstdError as error:
        raise ValueError(f"the index does not decompress: {error}") from error


def _more(parts: Iterator[bytes]) -> bytes:
    part = next(parts, b"")
    if not part:
        raise ValueError("the index has no end")
    return part


def _packed(text: bytes) -> bytes:
    """Some chunks, as they stand between brackets."""
    try:
        return b"".join(pack(Chunk(*row)) for row in json.loads(b"[%b]" % text.strip(b", \n")))
    except TypeError as error:
        raise ValueError(f"the index lists what is no chunk: {error}") from error


def digest(plain: bytes | memoryview) -> str:
    """What a chunk's content is known by: the first 128 bits of its BLAKE3, which takes a third of SHA-256's time."""
    return blake3(plain).hexdigest(length=16)
