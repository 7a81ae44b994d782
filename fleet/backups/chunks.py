"""Chunks of a table: one tells where some of its rows are; a large table has so many that they are kept packed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct, error
from typing import NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

# one chunk, twice: for many at once, and for one; the digests are raw bytes, zeros for a `seen` that is unknown
_ROW = np.dtype(
    [
        ("block", "<u4"),
        ("rows", "<u4"),
        ("object", "<u4"),
        ("offset", "<u8"),
        ("size_bytes", "<u8"),
        ("plain_bytes", "<u8"),
        ("digest", "S16"),
        ("seen", "S10"),
    ]
)
_PACKED = Struct("<3I3Q16s10s")
_CONTENT, _CONTENT_TYPE = slice(12, 52), np.dtype("S40")  # offset to digest
_UNSEEN = bytes(10)
_DIGEST_LETTERS, _SEEN_LETTERS = 32, 20

Rows = npt.NDArray[np.void]  # of _ROW
Contents = npt.NDArray[np.bytes_]


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


def pack(chunk: Chunk) -> bytes:
    """As `Chunks.unpack` reads it. Raises ValueError where it has numbers or digests that no chunk can have."""
    *numbers, digest, seen = chunk
    if len(digest) != _DIGEST_LETTERS or len(seen) not in {0, _SEEN_LETTERS}:
        raise ValueError(f"no digests of a chunk: {digest!r}, {seen!r}")
    try:
        return _PACKED.pack(*numbers, bytes.fromhex(digest), bytes.fromhex(seen))
    except error as wrong:
        raise ValueError(f"no numbers of a chunk: {numbers}") from wrong


class Chunks(Sequence[Chunk]):
    """Some chunks, in 62 bytes each: a tenth of what they take as objects. `array` has a field for each of theirs."""

    def __init__(self, array: Rows) -> None:
        self.array = array

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> Self:
        """Raises ValueError as `pack` does."""
        return cls.unpack(b"".join(map(pack, chunks)))

    @classmethod
    def unpack(cls, packed: bytes | bytearray) -> Self:
        return cls(np.frombuffer(packed, _ROW))

    @classmethod
    def union(cls, parts: Iterable[Chunks]) -> Self:
        return cls(np.concatenate([np.empty(0, _ROW), *(part.array for part in parts)]))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Chunk]:
        packed = np.ascontiguousarray(self.array).view(np.uint8).data
        for block, rows, number, offset, size, plain, digest, seen in _PACKED.iter_unpack(packed):
            told = "" if seen == _UNSEEN else seen.hex()
            yield Chunk(block, rows, number, offset, size, plain, digest.hex(), told)

    @overload
    def __getitem__(self, at: int) -> Chunk: ...
    @overload
    def __getitem__(self, at: slice) -> Chunks: ...
    def __getitem__(self, at: int | slice) -> Chunk | Chunks:
        if isinstance(at, slice):
            return Chunks(self.array[at])
        at = range(len(self))[at]
        return next(iter(Chunks(self.array[at : at + 1])))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chunks) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())

    def by_object(self) -> Iterator[tuple[int, Chunks]]:
        """Those of each object, as they lie in it; the objects in order of the first chunk that is in each."""
        needed, first = np.unique(self.array["object"], return_index=True)
        order = np.lexsort((self.array["offset"], self.array["object"]))
        ends = np.searchsorted(self.array["object"], needed, "right", sorter=order)
        starts = np.concatenate([[0], ends[:-1]])
        for at in np.argsort(first).tolist():
            yield int(needed[at]), Chunks(self.array[order[starts[at] : ends[at]]])

    def beyond(self, contents: Contents | None) -> Chunks:
        """Those whose content is not among these."""
        return self if contents is None else Chunks(self.array[~np.isin(self.contents, contents)])

    @property
    def contents(self) -> Contents:
        """Of each what an object must hold, and where: equal for equal `offset`, sizes and `digest`."""
        whole = np.ascontiguousarray(self.array).view(np.uint8).reshape(len(self), _ROW.itemsize)
        return np.ascontiguousarray(whole[:, _CONTENT]).view(_CONTENT_TYPE)[:, 0]

    @property
    def rows(self) -> int:
        return int(self.array["rows"].sum(dtype=np.uint64))

    @property
    def size_bytes(self) -> int:
        return int(self.array["size_bytes"].sum())

    @property
    def plain_bytes(self) -> int:
        return int(self.array["plain_bytes"].sum())


class Ledger:
    """Chunks as they come, from any thread, each with the key of its object."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._packed = bytearray()
        self._lock = threading.Lock()

    def add(self, key: str, chunks: Iterable[Chunk]) -> None:
        with self._lock:
            number = self._numbers.setdefault(key, len(self._numbers))
            for chunk in chunks:
                self._packed += pack(chunk._replace(object=number))

    def placed(self) -> Placed:
        """All that came, in no order; nothing may come any more."""
        return Placed(tuple(self._numbers), Chunks.unpack(self._packed))


class Placed(NamedTuple):
    """Chunks in some of these objects, named by their place among `keys`."""

    keys: Sequence[str]
    chunks: Chunks

    def plus(self, other: Placed) -> Placed:
        """Both, in order of `block`; of the objects those that are needed, in the order in which they are."""
        numbers: dict[str, int] = {}
        places = np.argsort(np.concatenate([self.chunks.array["block"], other.chunks.array["block"]]), kind="stable")
        ranks = np.empty(len(places), np.uint32)
        ranks[places] = np.arange(len(places), dtype=np.uint32)
        array = np.empty(len(places), _ROW)
        start = 0
        for keys, chunks in (self, other):
            renumbered = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.uint32)
            there = ranks[start : start + len(chunks)]
            array[there] = chunks.array
            array["object"][there] = renumbered[chunks.array["object"]]
            start += len(chunks)
        needed, first = np.unique(array["object"], return_index=True)
        order = needed[np.argsort(first)]
        renumbered = np.empty(len(numbers), np.uint32)
        renumbered[order] = np.arange(len(order), dtype=np.uint32)
        array["object"] = renumbered[array["object"]]
        every = list(numbers)
        return Placed(tuple(every[number] for number in order.tolist()), Chunks(array))


class Known:
    """Chunks that the pool holds already, found by their digest."""

    def __init__(self, placed: Placed) -> None:
        self._keys, self._chunks = placed
        self._order = np.argsort(self._chunks.array["digest"]).astype(np.uint32)
        self._digests = self._chunks.array["digest"][self._order]

    def find(self, digest: str) -> tuple[str, Chunk] | None:
        """The key of its object, and one that has this content."""
        at = int(self._digests.searchsorted(bytes.fromhex(digest)))
        if at == len(self._digests):
            return None
        chunk = self._chunks[int(self._order[at])]
        return (self._keys[chunk.object], chunk) if chunk.digest == digest else None
