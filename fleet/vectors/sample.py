"""Queries to probe an index with: vectors of its own table, or those that a configured statement gives.

A stored vector is what a search for "more like this" asks for, and close to what questions become. Its own row is left
out of every answer, or each search would find that one for certain. What remains is a little in the index's favour, as
the graph of HNSW links the row to its neighbours: where real searches are on record, configure them.
"""

from __future__ import annotations

import asyncpg

from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.search import Query, searched_type

_BLOCKS = (400, 4000)  # that a sample may read: more where the first had too few rows of the index in them
# whole blocks and always the same, lest the figures dance from probe to probe; of their rows some, spread over all
_ROWS = """
    select ctid from {table} tablesample system ({percent}) repeatable (0)
    where {condition} order by hashtext(ctid::text) limit {count}
"""
_TEXTS = "select ctid, {expression}::text as text from {table} where ctid = any($1::tid[])"


async def sample_queries(
    connection: Connection, index: VectorIndex, count: int = 100, sql: str | None = None
) -> list[Query]:
    """At most `count`; fewer where the table has fewer rows. `sql` gives real ones: a vector a row, in one column.

    Raises:
        ActionError: `sql` gives something else.
        asyncpg.PostgresError: the table is locked, gone, or not ours to read.
    """
    if sql is not None:
        return await _configured(connection, index, count, sql)
    blocks = await connection.fetchval(
        "select pg_relation_size($1::oid) / current_setting('block_size')::int", index.table_oid
    )
    condition = f"{index.expression} is not null" + (f" and ({index.predicate})" if index.predicate else "")
    rows: list[tuple[int, int]] = []
    async with connection.transaction(readonly=True):
        await connection.execute("set local row_security = off")
        for wanted in _BLOCKS:
            percent = min(100.0, 100 * wanted / max(blocks or 0, 1))
            query = _ROWS.format(table=index.quoted_table, percent=percent, condition=condition, count=count)
            rows = [record["ctid"] for record in await connection.fetch(query)]
            if len(rows) >= count or percent >= 100:
                break
        return await queries_of(connection, index, rows)


async def queries_of(connection: Connection, index: VectorIndex, rows: list[tuple[int, int]]) -> list[Query]:
    """The vectors of these rows, by (block, offset), in that order; without those that are gone or are zero."""
    query = _TEXTS.format(expression=index.expression, table=index.quoted_table)
    texts = {record["ctid"]: record["text"] for record in await connection.fetch(query, rows)}
    return [Query(texts[row], row) for row in rows if texts.get(row) and not _pointless(index, texts[row])]


async def _configured(connection: Connection, index: VectorIndex, count: int, sql: str) -> list[Query]:
    statement = f"select (q)::{searched_type(index)}::text as text from ({sql}) as s (q) limit {count}"  # noqa: S608
    try:
        async with connection.transaction(readonly=True):
            records = await connection.fetch(statement)
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError) as error:
        raise ActionError(
            f"the queries that the policy names for {index.indexrelname} cannot be used: {error}",
            hint="vectors.queries: a SELECT of one column, with vectors of the index's type and dimensions",
        ) from error
    return [Query(record["text"]) for record in records if record["text"] and not _pointless(index, record["text"])]


def _pointless(index: VectorIndex, text: str) -> bool:
    """Nothing has an angle to what is zero."""
    return index.distance == "<=>" and not set(text) & set("123456789")
