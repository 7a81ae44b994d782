"""From the rows of a table to objects of the pool: cut into chunks, each a zstd frame, packed one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import zstandard

from fleet.backups.index import Chunk, digest
from fleet.backups.visibility import Seen
from fleet.errors import ActionError

PACK_BYTES = 8 << 20
LEVEL = 1


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a chunk is stored: `chunk.object` is not yet known by number, but by `key`."""

    key: str
    chunk: Chunk


Known = Mapping[str, Placed]  # chunks that the pool holds already, by digest
Store = Callable[[bytes, list[Chunk]], None]


class Packer:
    """Runs in a thread. A full pack goes to `store`, which may wait for the one before, with its chunks in order.

    `placed` are chunks that were known already; the others are placed by whoever stores the packs.
    """

    def __init__(self, known: Known, store: Store) -> None:
        self.placed: list[Placed] = []
        self.plain_bytes = 0
        self._known = known
        self._store = store
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._frames: list[bytes] = []
        self._size = 0
        self._chunks: list[Chunk] = []

    def take(self, rows: Iterator[memoryview], pieces: Sequence[Seen]) -> None:
        """Pack a stream that holds the rows of `pieces`, in order.

        Raises:
            ActionError: it holds fewer or more.
        """
        for piece in pieces:
            content = list(islice(rows, piece.rows))
            if len(content) < piece.rows:
                raise ActionError("the server gave fewer rows than its snapshot holds")
            self._pack(piece, b"".join(content))
        if next(rows, None) is not None:
            raise ActionError("the server gave more rows than its snapshot holds")

    def flush(self) -> None:
        """Store what is left."""
        if self._frames:
            content, chunks = b"".join(self._frames), self._chunks
            self._frames, self._chunks, self._size = [], [], 0
            self._store(content, chunks)

    def _pack(self, piece: Seen, plain: bytes) -> None:
        name = digest(plain)
        self.plain_bytes += len(plain)
        known = self._known.get(name)
        if known is not None:
            there = known.chunk
            chunk = Chunk(piece.block, piece.rows, 0, there.offset, there.size_bytes, len(plain), name, piece.seen)
            self.placed.append(Placed(known.key, chunk))
            return
        frame = self._compressor.compress(plain)
        self._chunks.append(Chunk(piece.block, piece.rows, 0, self._size, len(frame), len(plain), name, piece.seen))
        self._frames.append(frame)
        self._size += len(frame)
        if self._size >= PACK_BYTES:
            self.flush()
