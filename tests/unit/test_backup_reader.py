"""Rows read from a pool, rows within pg_dump's SQL, and rows compared in any order."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import zstandard

from fleet.backups.chunks import Chunk, Chunks
from fleet.backups.data_text import DataText
from fleet.backups.index import BINARY_HEADER, BINARY_TRAILER, TableIndex, digest
from fleet.backups.multiset import Format, RowSum, StreamSum
from fleet.backups.pool import Pool
from fleet.backups.reader import read_rows, read_text, split
from fleet.errors import StoreError
from fleet.stores.local import LocalStore


def row(*values: bytes | None) -> bytes:
    fields = b"".join((-1).to_bytes(4, signed=True) if v is None else len(v).to_bytes(4) + v for v in values)
    return len(values).to_bytes(2) + fields


ROWS = [row(number.to_bytes(4), None if number % 3 else b"x" * number) for number in range(200)]


async def stored(pool: Pool, packs: int, chunks: int) -> TableIndex:
    """A table of `packs` objects of `chunks` chunks with one row each; between two of them is what nobody needs."""
    keys, index, rows = [], [], iter(range(len(ROWS)))
    for number in range(packs):
        content = b""
        for _ in range(chunks):
            block = next(rows)
            frame = zstandard.compress(ROWS[block])
            index.append(Chunk(block, 1, number, len(content), len(frame), len(ROWS[block]), digest(ROWS[block]), ""))
            content += frame + (b"unneeded" if block % 4 == 0 else b"")
        keys.append((await pool.put(content, 0)).key)
    return TableIndex(
        format="binary",
        columns=("a",),
        signature="",
        filenode=1,
        blocks=1,
        read_at=0,
        objects=tuple(keys),
        chunks=Chunks.of(index),
    )


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(LocalStore(LocalStore.Options(path=tmp_path)), "qa")


async def test_every_part_gives_its_rows(pool: Pool) -> None:
    index = await stored(pool, 5, 8)
    parts = split(index, part_bytes=500)
    assert 1 < len(parts) < 5
    assert sum(part.rows for part in parts) == 40
    read = [b"".join([batch async for batch in read_rows(pool, part)]) for part in parts]
    assert b"".join(read) == b"".join(ROWS[:40])
    assert [len(part) for part in read] == [part.plain_bytes for part in parts]
    assert split(index.model_copy(update={"chunks": Chunks.of(())})) == []


async def test_damage_is_told(pool: Pool, tmp_path: Path) -> None:
    index = await stored(pool, 2, 4)
    (part,) = split(index)
    wrong = index.chunks[5]._replace(digest=digest(b"other"))
    (other,) = split(index.model_copy(update={"chunks": Chunks.of([*index.chunks[:5], wrong, *index.chunks[6:]])}))
    with pytest.raises(StoreError, match="other rows than the index says"):
        _ = [batch async for batch in read_rows(pool, other)]
    path = tmp_path / index.objects[1]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="damaged"):
        _ = [batch async for batch in read_rows(pool, part)]
    path.unlink()
    with pytest.raises(StoreError):
        _ = [batch async for batch in read_rows(pool, part)]


async def test_text_is_checked_to_its_end(pool: Pool, tmp_path: Path) -> None:
    text = b"select 1;\n" * 1000
    blob = await pool.put(zstandard.compress(text), len(text))
    assert b"".join([part async for part in read_text(pool, blob)]) == text
    path = tmp_path / blob.key
    path.write_bytes(zstandard.compress(text[:-1]))
    with pytest.raises(StoreError, match="damaged"):
        _ = [part async for part in read_text(pool, blob)]


@pytest.mark.parametrize("format_", ["binary", "text"])
def test_sums_know_content_and_not_order(format_: Format) -> None:
    rows = ROWS if format_ == "binary" else [b"a\t%d\n" % number for number in range(200)]
    header, trailer = (BINARY_HEADER, BINARY_TRAILER) if format_ == "binary" else (b"", b"")
    whole = RowSum(format_)
    whole.take(b"".join(rows))
    chance = random.Random(7)  # noqa: S311
    for size in (1, 7, 100, 5000):
        shuffled = chance.sample(rows, len(rows))
        stream, found = header + b"".join(shuffled) + trailer, StreamSum(format_)
        for at in range(0, len(stream), size):
            found.take(stream[at : at + size])
        assert (found.rows, found.total) == (200, whole.total), size
    other = RowSum(format_)
    other.take(b"".join([*rows[:-1], rows[0]]))
    assert other.rows == 200
    assert other.total != whole.total


DATA = rb"""--
-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: me
--

COPY public.a (id, "odd (""x") FROM stdin;
1	COPY public.b (id) FROM stdin;
2	-- Name
\.


COPY "S; x"."b
c" (id) FROM stdin;
1
\.


COPY public.nothing  FROM stdin;
\.


SELECT pg_catalog.setval('public.counter', 5, true);
"""


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
async def test_rows_within_sql(size: int) -> None:
    async def parts() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(DATA), size):
            yield DATA[at : at + size]

    text = DataText()
    assert b"".join([part async for part in text.read(parts())]) == DATA
    assert [(t.schema_name, t.name, t.sum.rows, t.query) for t in text.tables] == [
        ("public", "a", 2, 'select id, "odd (""x" from only public.a'),
        ("S; x", "b\nc", 1, 'select id from only "S; x"."b\nc"'),
        ("public", "nothing", 0, None),
    ]
    some = DataText({("S; x", "b\nc")})
    kept = b"".join([part async for part in some.read(parts())])
    assert b"2\t" not in kept
    assert b'COPY "S; x"."b\nc" (id) FROM stdin;\n1\n\\.\n' in kept
    assert b"setval" in kept
