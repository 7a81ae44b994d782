"""Chunks of a table, packed: what is told of them is the same as of a list of them; their index, as it is stored."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import zstandard

from fleet.backups.chunks import Chunk, Chunks, Known, Ledger, Placed, pack
from fleet.backups.index import TableIndex, decode_index, encode_index
from fleet.backups.tables import CHUNK_BYTES, MOST_BLOCKS, MOST_CHUNKS, chunk_blocks


def made(count: int, objects: int = 1, seed: int = 1) -> list[Chunk]:
    """Chunks of random blocks, in no order, with and without knowledge of their rows."""
    chance = random.Random(seed)  # noqa: S311
    blocks = chance.sample(range(1 << 32), count)
    return [
        Chunk(
            block,
            chance.randrange(1, 1 << 32),
            chance.randrange(objects),
            chance.randrange(1 << 40),
            chance.randrange(1 << 40),
            chance.randrange(1 << 40),
            f"{chance.getrandbits(128):032x}",
            f"{chance.getrandbits(80):020x}" if number % 3 else "",
        )
        for number, block in enumerate(blocks)
    ]


def index_of(chunks: Chunks, objects: tuple[str, ...] = ("objects/qa/ab/abcd",)) -> TableIndex:
    return TableIndex(
        format="binary",
        columns=("a,", 'chunks":[['),
        signature="s",
        filenode=1,
        blocks=2,
        read_at=0.5,
        objects=objects,
        chunks=chunks,
    )


def plain(stored: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(stored)


def test_they_are_as_they_were() -> None:
    chunks = made(100)
    packed = Chunks.of(chunks)
    assert list(packed) == chunks
    assert list(packed[10:20]) == chunks[10:20]
    assert (packed[0], packed[-1]) == (chunks[0], chunks[-1])
    assert packed == Chunks.of(chunks) != Chunks.of(chunks[1:])
    assert packed.rows == sum(chunk.rows for chunk in chunks)
    assert packed.size_bytes == sum(chunk.size_bytes for chunk in chunks)
    assert packed.plain_bytes == sum(chunk.plain_bytes for chunk in chunks)
    with pytest.raises(IndexError):
        _ = packed[100]


@pytest.mark.parametrize(
    "field",
    [{"block": -1}, {"rows": 1 << 32}, {"offset": 1 << 64}, {"digest": "ab"}, {"digest": "x" * 32}, {"seen": "a"}],
)
def test_what_no_chunk_can_have(field: dict[str, Any]) -> None:
    (chunk,) = made(1)
    with pytest.raises(ValueError, match=r"of a chunk|non-hexadecimal"):
        pack(chunk._replace(**field))


def test_those_of_each_object() -> None:
    chunks = sorted(made(200, objects=9))
    expected = {number: [chunk for chunk in chunks if chunk.object == number] for number in (c.object for c in chunks)}
    found = [(number, list(within)) for number, within in Chunks.of(chunks).by_object()]
    assert found == [(number, sorted(some, key=lambda chunk: chunk.offset)) for number, some in expected.items()]
    assert list(Chunks.of(()).by_object()) == []


@pytest.mark.parametrize(("olds", "news"), [(0, 0), (0, 50), (50, 0), (50, 50)])
def test_old_and_new_ones_become_one_list(olds: int, news: int) -> None:
    chunks = made(olds + news, objects=6)
    old, ledger = Placed(tuple("abcdefgh"), Chunks.of(chunks[:olds])), Ledger()
    for chunk in chunks[olds:]:
        ledger.add("efghij"[chunk.object], [chunk])  # some objects are in both
    keys = ["abcdefgh"[chunk.object] for chunk in chunks[:olds]] + ["efghij"[chunk.object] for chunk in chunks[olds:]]
    both = sorted(zip(chunks, keys, strict=True))
    found = old.plus(ledger.placed())
    assert found.keys == tuple(dict.fromkeys(key for _, key in both)), "those that are needed, as they are needed"
    assert [found.keys[chunk.object] for chunk in found.chunks] == [key for _, key in both]
    assert [chunk._replace(object=0) for chunk in found.chunks] == [chunk._replace(object=0) for chunk, _ in both]


def test_they_are_found_by_content() -> None:
    chunks = made(100, objects=3)
    known = Known(Placed(("a", "b", "c"), Chunks.of(chunks)))
    assert [known.find(chunk.digest) for chunk in chunks] == [("abc"[chunk.object], chunk) for chunk in chunks]
    assert known.find("f" * 32) is known.find("0" * 32) is None
    assert Known(Placed((), Chunks.of(()))).find("0" * 32) is None


def test_content_that_is_known_is_left_out() -> None:
    chunks = Chunks.of(made(10))
    moved = Chunks.of(chunk._replace(block=1, rows=1, object=1, seen="") for chunk in chunks)
    assert list(moved.beyond(chunks[:4].contents)) == list(moved[4:])
    other = Chunks.of(chunk._replace(offset=chunk.offset + 1) for chunk in chunks)
    assert other.beyond(chunks.contents) == other == other.beyond(None)


@pytest.mark.parametrize("count", [0, 1, 1999, 2000, 2001, 12_345])
def test_an_index_of_any_size(count: int) -> None:
    index = index_of(Chunks.of(made(count)))
    stored = encode_index(index)
    assert decode_index(stored) == index
    told = json.loads(plain(stored))
    assert told["chunks"] == [list(chunk) for chunk in index.chunks]
    assert (told["columns"], told["read_at"]) == (list(index.columns), 0.5)


@pytest.mark.parametrize("indent", [None, 2])
def test_an_index_that_others_wrote(indent: int | None) -> None:
    """Laid out in another way, with a field that is not known yet."""
    index = index_of(Chunks.of(made(5000)), tuple(f"objects/qa/ab/{number:064}" for number in range(5000)))
    told = json.loads(plain(encode_index(index))) | {"later": [["x"]]}
    assert decode_index(zstandard.compress(json.dumps(told, indent=indent).encode())) == index


@pytest.mark.parametrize(
    ("found", "put", "said"),
    [
        (b"]}", b"", "no end"),
        (b'"chunks"', b'"chunk"', "no end"),
        (b"[1,", b"[1.5,", "no numbers"),
        (b"[1,", b"[-1,", "no numbers"),
        (b"[1,", b"[", "no chunk"),
        (b"[[1,", b"[1,[1,", "no chunk"),
        (b'"filenode":1', b'"filenode":"x"', "filenode"),
    ],
)
def test_an_index_that_is_broken(found: bytes, put: bytes, said: str) -> None:
    text = plain(encode_index(index_of(Chunks.of([made(1)[0]._replace(block=1)]))))
    assert text.count(found) == 1
    with pytest.raises(ValueError, match=said):
        decode_index(zstandard.compress(text.replace(found, put)))


def test_a_frame_that_is_broken() -> None:
    stored = encode_index(index_of(Chunks.of(made(9000))))
    for wrong, said in (
        (stored[: len(stored) // 2], "no end"),
        (stored[:-50_000] + b"?" + stored[-49_999:], "index"),
        (b"x" * 20, "does not decompress"),
        (b"", "no end"),
    ):
        with pytest.raises(ValueError, match=said):
            decode_index(wrong)


def test_a_table_has_not_too_many_chunks() -> None:
    assert chunk_blocks(1000, 8192 * 1000) == CHUNK_BYTES // 8192
    assert chunk_blocks(1000, 8192 * 16_000) == 1, "rows that are kept out of the heap"
    assert chunk_blocks(0, 0) == 1
    for blocks in (20, 60):
        assert chunk_blocks(blocks * MOST_CHUNKS, 8192 * blocks * MOST_CHUNKS) == blocks
    assert chunk_blocks(100 * MOST_CHUNKS, 8192 * 100 * MOST_CHUNKS) == MOST_BLOCKS, "a chunk is held in memory whole"
