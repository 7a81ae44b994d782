"""Packs are filled in memory that is used again: what is stored must be what was packed."""

from __future__ import annotations

import random
from itertools import chain

import numpy as np
import pytest
import zstandard

from fleet.backups import packer
from fleet.backups.chunks import Chunk, Chunks, Known, Placed
from fleet.backups.index import digest
from fleet.backups.packer import Packer
from fleet.backups.visibility import SEEN
from fleet.errors import ActionError

NOTHING = Known(Placed((), Chunks.of(())))
ROWS = 3  # of a chunk


def chunks_of(*sizes: int) -> list[list[bytes]]:
    chance = random.Random(7)  # noqa: S311
    return [[chance.randbytes(size) for _ in range(ROWS)] for size in sizes]


def seen_of(chunks: list[list[bytes]]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.array([(2 * number, len(rows), b"s" * 10) for number, rows in enumerate(chunks)], SEEN)


class Stored:
    """Keeps one pack under way, as the shelf does: what it reads of it only then is what was put."""

    def __init__(self) -> None:
        self.packs: list[tuple[bytes, list[Chunk]]] = []
        self._under_way: tuple[bytearray, list[Chunk]] | None = None

    def put(self, content: bytearray, chunks: list[Chunk]) -> None:
        self.wait()
        self._under_way = content, chunks

    def wait(self) -> None:
        if self._under_way is not None:
            content, chunks = self._under_way
            self.packs.append((bytes(content), chunks))

    def rows(self) -> list[bytes]:
        decompress = zstandard.ZstdDecompressor().decompress
        return [
            decompress(content[chunk.offset : chunk.offset + chunk.size_bytes])
            for content, chunks in self.packs
            for chunk in chunks
        ]


def test_each_pack_holds_its_own_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packer, "PACK_BYTES", 1000)
    chunks = chunks_of(*range(1, 200, 7), 2000, *range(200, 1, -7), 3000, 5, 400, 1)  # some are larger than a pack
    stored = Stored()
    packing = Packer(NOTHING, stored.put, lambda _key, _chunks: None)
    packing.take(map(memoryview, chain.from_iterable(chunks)), seen_of(chunks))
    packing.flush()
    packing.flush()
    stored.wait()
    plain = [b"".join(rows) for rows in chunks]
    assert stored.rows() == plain
    told = [chunk for _, pack in stored.packs for chunk in pack]
    assert [(chunk.block, chunk.rows, chunk.plain_bytes, chunk.digest) for chunk in told] == [
        (2 * number, ROWS, len(content), digest(content)) for number, content in enumerate(plain)
    ]
    assert all(len(content) == sum(chunk.size_bytes for chunk in pack) for content, pack in stored.packs)
    assert len(stored.packs) > 10
    assert packing.plain_bytes == sum(map(len, plain))


def test_what_is_known_is_placed_and_not_packed() -> None:
    new, old = chunks_of(50, 60)
    there = Chunk(8, ROWS, 0, 100, 70, 180, digest(b"".join(old)), "aa" * 10)
    stored, placed = Stored(), list[tuple[str, list[Chunk]]]()
    known = Known(Placed(("key",), Chunks.of([there])))
    packing = Packer(known, stored.put, lambda key, chunks: placed.append((key, list(chunks))))
    packing.take(map(memoryview, chain(new, old)), seen_of([new, old]))
    packing.flush()
    stored.wait()
    assert stored.rows() == [b"".join(new)]
    assert placed == [("key", [there._replace(block=2, seen=(b"s" * 10).hex())])]


@pytest.mark.parametrize(("given", "said"), [(ROWS - 1, "fewer"), (ROWS + 1, "more")])
def test_a_stream_that_is_not_as_it_was_seen_is_refused(given: int, said: str) -> None:
    packing = Packer(NOTHING, Stored().put, lambda _key, _chunks: None)
    with pytest.raises(ActionError, match=f"the server gave {said} rows"):
        packing.take(iter([memoryview(b"row")] * given), seen_of(chunks_of(1)))
