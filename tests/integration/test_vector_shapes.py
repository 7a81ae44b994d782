"""Searches that a server has counted, held against an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from fleet.embedded import EmbeddedServer
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.shapes import misfits

_SETUP = """
    create extension vector; create extension pg_stat_statements;
    create table t (id bigserial, e vector(3)); insert into t (e) select '[1,2,3]' from generate_series(1, 10);
    create index i on t using hnsw (e vector_cosine_ops)
"""


@pytest.fixture(scope="module")
def counting(scratch: Path) -> Iterator[EmbeddedServer]:
    """A server that counts statements."""
    running = EmbeddedServer.start(
        scratch / "counting", settings={"shared_preload_libraries": "pg_stat_statements", "fsync": "off"}
    )
    yield running
    running.stop()


async def only(connection: asyncpg.Connection) -> VectorIndex:
    (index,) = await vector_indexes(connection)
    return index


async def test_each_kind_of_search_that_does_not_fit_is_told_once(counting: EmbeddedServer) -> None:
    connection = await asyncpg.connect(counting.dsn())
    await connection.execute(_SETUP)
    index = await only(connection)
    fits = "select id from t order by e <=> '[3,2,1]' limit 5"
    await connection.execute(fits)
    assert await misfits(connection, index) == []
    for query in (
        "select id from t order by e <-> '[3,2,1]' limit 5",
        "select 1, id from t order by e <-> '[3,2,1]' limit 5",
        "select id, 1 - (e <=> '[3,2,1]') as score from t order by score desc limit 5",
        "update t set e = e where e <-> '[3,2,1]' > 100",
    ):
        await connection.execute(query)
    texts = {reason.text for reason in await misfits(connection, index)}
    assert texts == {"searches use <->, the index serves <=>", "searches do not order by the distance itself"}
    await connection.close()


async def test_where_nobody_counts_nothing_is_told(sql: asyncpg.Connection) -> None:
    await sql.execute(_SETUP.replace("create extension vector; create extension pg_stat_statements;", ""))
    index = await only(sql)
    assert await misfits(sql, index) == []
    await sql.execute("create extension pg_stat_statements")  # which is not loaded
    assert await misfits(sql, index) == []
