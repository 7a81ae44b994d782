"""A recall probe as steps of a run: what the queries are, the pass over the table in parts, and the searches.

A run's data holds of the queries only where they are from and a digest: vectors are large, and are read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import asyncpg

from actions._action import Figures, Job, Object
from actions._tables import GONE
from fleet.backups.facts import databases_of
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.exact import ExactSearch
from fleet.vectors.probe import cheap_probe, part_blocks, read_exact, search_curve, usual_settings
from fleet.vectors.recall import K, Point, reaching
from fleet.vectors.sample import queries_of, sample_queries
from fleet.vectors.search import Query, exact_seconds

_LARGE_BYTES = 4 << 30  # the server is not asked for a search through all of a table as large as this
_SEARCH_SECONDS = 600.0
_READABLE = "select has_table_privilege($1::oid, 'select') and not row_security_active($1::oid)"


async def chosen_index(job: Job, datname: str | None, names: tuple[str | None, str | None, str | None]) -> VectorIndex:
    """The one vector index of these names: schema, table, index.

    Raises:
        ActionError: there is none, or more than one; or it cannot be searched.
    """
    known = await databases_of(job.environment, job.connections)
    if datname is not None and datname not in known:
        raise ActionError(f"{job.environment.name} has no database {datname!r} for us")
    found: list[VectorIndex] = []
    for database in known if datname is None else [datname]:
        async with job.connections.acquire(database) as connection:
            indexes = await vector_indexes(connection, names)
            readable = [await connection.fetchval(_READABLE, index.table_oid) for index in indexes]
        found += indexes
        if len(found) == 1 and readable == [False]:
            raise ActionError(
                f"the role of {job.environment.name} may not read {found[0].quoted_table}",
                hint="grant it SELECT, and let no row security hide rows from it",
            )
    if len(found) != 1:
        which = ", ".join(f"{index.datname}.{index.quoted}" for index in found)
        raise ActionError(
            f"{job.environment.name} has {len(found) or 'no'} vector index(es) of that name",
            hint=f"name one: {which}" if which else "custode index list tells which there are",
        )
    if not found[0].valid:
        raise ActionError(f"{found[0].quoted} is invalid: nothing is searched through it", hint="build it again")
    return found[0]


async def read_part(job: Job, one: Object, count: int, part: int) -> Figures:
    """Compare the rows of a part of the table with the queries; the first part chooses them."""
    async with job.connections.acquire(one["datname"]) as connection:
        index = await _again(connection, one)
        queries = await _queries(job, connection, index, count)
        blocks = await connection.fetchval(
            "select pg_relation_size($1::oid) / current_setting('block_size')::int", index.table_oid
        )
    if not queries:
        raise ActionError(f"{index.quoted_table} has no rows to search for")
    bounds = job.data.setdefault("bounds", part_blocks(blocks, one["parts"]))
    nearest = job.data.get("nearest", {"parts": 0, "distances": [[] for _ in queries]})
    if nearest["parts"] > part:
        return {"skipped": "done by an earlier attempt"}
    search = ExactSearch(index, queries, K)
    search.resume(nearest["distances"])
    loop, rows = asyncio.get_running_loop(), max(1.0, (index.rows or 0) / one["parts"])

    def tell(read: int) -> None:
        loop.call_soon_threadsafe(job.progress, min(1.0, read / rows), f"{read:,} rows compared")

    lower, upper = bounds[part]
    between = None if one["parts"] == 1 else (lower, upper)
    await read_exact(job.environment, job.secrets, index, search, blocks=between, tell=tell)
    job.data["nearest"] = {"parts": part + 1, "distances": search.distances}
    return {"rows": search.rows, "queries": len(queries)}


async def search_exact(job: Job, one: Object, count: int, *, settings: Sequence[int], target: float | None) -> Figures:
    """Search at the session's own setting and at others, and compare with what is nearest.

    No `settings`: the usual ones. `target` None: the recall that the policy promises.
    """
    async with job.connections.acquire(one["datname"]) as connection:
        index = await _again(connection, one)
        queries = await _queries(job, connection, index, count)
        truth = job.data["nearest"]["distances"]
        tried = [None, *(settings or usual_settings(index))]
        points = await search_curve(connection, index, queries, truth, tried)
        slow = None if index.table_bytes > _LARGE_BYTES or not queries else await _slow(connection, index, queries[0])
    if not points:
        raise ActionError(f"what was searched for in {index.quoted_table} is gone")
    own, *curve = points
    figures = _figures("", own) | {
        name: value
        for at in curve
        for name, value in (
            (f"recall_at_{at.setting}_ratio", at.recall.ratio),
            (f"search_at_{at.setting}_seconds", at.seconds),
        )
    }
    if slow is not None:
        figures["exact_search_seconds"] = slow
    wanted = job.environment.policy.vectors.promised(index.method.value) if target is None else target
    if wanted is not None:
        least = reaching([own, *curve], wanted)
        figures["wanted_recall_ratio"] = wanted
        figures["wanted_setting"] = "none of these" if least is None else least.setting
    job.data["found"] = figures
    return figures


async def search_cheaply(job: Job, one: Object, count: int, *, may_evict: bool) -> Figures:
    """Compare with what the index itself finds at a high setting."""
    policy = job.environment.policy.vectors
    async with job.connections.acquire(one["datname"]) as connection:
        index = await _again(connection, one)
        cost = await cost_of(connection, index)
        most = None if may_evict or cost is None else cost.searches_may_read(policy.probe_share, index)
        queries = await _queries(job, connection, index, count)
        found = await cheap_probe(connection, index, queries, Allowance(index, most, _SEARCH_SECONDS))
    if found is None:
        raise ActionError(
            f"searches through {index.quoted} would push out what is in shared_buffers",
            hint="set may_evict, or probe_share in the policy",
        )
    job.data["found"] = _figures("estimated_", found)
    return _figures("estimated_", found)


async def _slow(connection: Connection, index: VectorIndex, query: Query) -> float | None:
    try:
        return await exact_seconds(connection, index, query, K)
    except asyncpg.QueryCanceledError:
        return None


async def _again(connection: Connection, one: Object) -> VectorIndex:
    indexes = await vector_indexes(connection, oids=[one["oid"]])
    if not indexes or not indexes[0].object.items() <= dict(one).items():
        raise ActionError(f"{one['indexrelname']} was {GONE}")
    return indexes[0]


async def _queries(job: Job, connection: Connection, index: VectorIndex, count: int) -> list[Query]:
    """Those of the run; without what is another row by now, or gone."""
    sql = job.environment.policy.vectors.queries_of(index.schemaname, index.indexrelname)
    marks: list[list[Any]] | None = job.data.get("queries")
    if marks is None or sql is not None:
        queries = await sample_queries(connection, index, count, sql)
    else:
        queries = await queries_of(connection, index, [(block, offset) for block, offset, _ in marks])
    if marks is None:
        job.data["queries"] = [_mark(query) for query in queries]
        return queries
    known = {tuple(_mark(query)): query for query in queries}
    kept = [number for number, mark in enumerate(marks) if tuple(mark) in known]
    job.data["queries"] = [marks[number] for number in kept]
    if (nearest := job.data.get("nearest")) is not None:
        distances = [nearest["distances"][number] for number in kept]
        job.data["nearest"] = {"parts": nearest["parts"], "distances": distances}
    return [known[tuple(marks[number])] for number in kept]


def _mark(query: Query) -> list[Any]:
    return [*(query.row or (-1, -1)), sha256(query.text.encode()).hexdigest()[:16]]


def _figures(prefix: str, own: Point) -> dict[str, float | str]:
    return {
        f"{prefix}recall_ratio": own.recall.ratio,
        f"{prefix}recall_low_ratio": own.recall.low,
        f"{prefix}recall_high_ratio": own.recall.high,
        "queries": own.recall.queries,
        "setting": own.setting,
        "search_seconds": own.seconds,
    }
