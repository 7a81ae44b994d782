"""Nearest-neighbour searches through one index, as applications run them: how far what they find is, and how fast."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors.allowance import Allowance
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.recommended import MOST_EF_SEARCH, MOST_LISTS, Method, default_search, search_setting

_MOST = {Method.HNSW: MOST_EF_SEARCH, Method.IVFFLAT: MOST_LISTS}
# a plan that the session has kept was made with other settings; rows that a policy hides are an error, not absent
_HONEST = "set local plan_cache_mode = force_custom_plan; set local row_security = off"
# small tables too: nothing but an index may answer
_FORCED = """
    set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off;
    set local enable_indexscan = on
"""


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for: a vector as the server writes it.

    `row` is the (block, offset) of the row that it was taken from. That row is no answer: to find oneself is no feat.
    """

    text: str
    row: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """For each query the distances of what was found, nearest first, and how many seconds it took to have it here.

    There are fewer than were asked for where the allowance was used up. `setting` is what they were searched with.
    """

    setting: int
    distances: tuple[tuple[float, ...], ...]
    seconds: tuple[float, ...]


def searched_type(index: VectorIndex) -> str:
    """What a query is cast to: without its length, a bit string would be cut to one bit."""
    return index.type_name if index.dimensions is None else f"{index.type_name}({index.dimensions})"


def search_sql(index: VectorIndex, k: int) -> str:
    """The search that the index is there for: row and distance of the `k` nearest to $1, a text."""
    distance = f"{index.expression} {index.operator} $1::text::{searched_type(index)}"
    rows = f"from {index.quoted_table} {index.condition}"
    return f"select ctid, {distance} as distance {rows} order by {distance} limit {k}"


async def search_many(
    connection: Connection,
    index: VectorIndex,
    queries: Sequence[Query],
    k: int,
    setting: int | None = None,
    *,
    allowance: Allowance | None = None,
) -> Answers:
    """Search for each query in turn, with `setting` lists or candidates (None: as the session has it).

    Nothing is left of the settings. In a transaction of the caller all searches see one snapshot.

    Raises:
        ActionError: the planner does not answer from this index, but from another one on the same column.
        asyncpg.PostgresError: the table is locked, gone, or not ours to read.
    """
    sql = search_sql(index, k + 1)
    found: list[tuple[float, ...]] = []
    seconds: list[float] = []
    transaction = connection.transaction(readonly=True)
    await transaction.start()
    try:
        used = await _prepare(connection, index, setting, queries, sql)
        for query in queries:
            begun = time.perf_counter()
            records = await connection.fetch(sql, query.text)
            seconds.append(time.perf_counter() - begun)
            found.append(_distances(records, query, k))
            if allowance is not None and await allowance.spent(connection):
                break
    finally:
        if not connection.is_closed():
            await transaction.rollback()
    return Answers(used, tuple(found), tuple(seconds))


async def exact_seconds(connection: Connection, index: VectorIndex, query: Query, k: int) -> float:
    """How long the server takes for one search that reads every row."""
    transaction = connection.transaction(readonly=True)
    await transaction.start()
    try:
        await connection.execute(f"{_HONEST}; set local enable_indexscan = off")
        begun = time.perf_counter()
        await connection.fetch(search_sql(index, k), query.text)
        return time.perf_counter() - begun
    finally:
        if not connection.is_closed():
            await transaction.rollback()


async def _prepare(
    connection: Connection, index: VectorIndex, setting: int | None, queries: Sequence[Query], sql: str
) -> int:
    """Make the session search as it is to; returns the setting that it has then."""
    await connection.execute(f"{_HONEST};{_FORCED}")
    name = search_setting(index.method)
    wanted = await own_setting(connection, index) if setting is None else setting
    # among the candidates of HNSW the query's own row takes a place, which none has in an application's search
    more = 1 if index.method is Method.HNSW and any(query.row for query in queries) else 0
    await _set(connection, name, min(wanted + more, _MOST[index.method]))
    for rival, most in _MOST.items():
        if rival is not index.method:  # an index of the other kind on this column seems dear then
            await _set(connection, search_setting(rival), most)
    if queries:
        plan = json.loads(await connection.fetchval(f"explain (format json) {sql}", queries[0].text))
        if index.indexrelname not in _indexes(plan[0]["Plan"]):
            raise ActionError(
                f"the planner does not search through {index.indexrelname}", hint="another index is on the same column"
            )
    return wanted


async def own_setting(connection: Connection, index: VectorIndex) -> int:
    """Candidates or lists that a search of this session looks at: of its role, its database, or pgvector's default."""
    told = await connection.fetchval("select current_setting($1, true)", search_setting(index.method))
    return int(told) if told else default_search(index.method)


async def _set(connection: Connection, name: str, value: int) -> None:
    await connection.fetchval("select set_config($1, $2, true)", name, str(value))


def _distances(records: Sequence[Any], query: Query, k: int) -> tuple[float, ...]:
    others = (record["distance"] for record in records if record["ctid"] != query.row)
    return tuple(distance for distance in others if not math.isnan(distance))[:k]


def _indexes(node: dict[str, Any]) -> set[str]:
    own = {node["Index Name"]} if "Index Name" in node else set()
    return own.union(*(_indexes(child) for child in node.get("Plans", ())))
