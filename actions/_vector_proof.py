"""What an index finds and how fast, and whether the planner uses it, also while an older one is beside it.

The exact answers come from one pass over the table: that reads no more than the build does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from actions._action import Figures, Job, Object
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors import Method, VectorIndex, vector_indexes
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.exact import ExactSearch, refusal
from fleet.vectors.plans import FEW_ROWS, Cause, Use, explain_use
from fleet.vectors.probe import cheap_probe, read_exact, search_curve
from fleet.vectors.recall import K, Point
from fleet.vectors.recommended import MOST_LISTS
from fleet.vectors.sample import sample_queries
from fleet.vectors.search import Query

_CHEAP_QUERIES, _CHEAP_SECONDS, _CHEAP_SHARE = 40, 20.0, 0.1  # the last of shared_buffers that may be read into
# where nothing costs anything, the planner takes the first way it looks at, and it looks at the youngest index first
_FREE = ("seq_page_cost", "random_page_cost", "cpu_tuple_cost", "cpu_index_tuple_cost", "cpu_operator_cost")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured of an index on so many `rows`; `point` is None where nothing could be."""

    point: Point | None
    use: Use
    rows: float

    @property
    def figures(self) -> Figures:
        return figures_of(self.point) | {"served_by": self.use.served_by or "no index"}


@asynccontextmanager
async def _session(job: Job, datname: str, *, youngest: bool = False) -> AsyncIterator[Connection]:
    """Without a limit of time; with `youngest`, of several indexes on a column the last one made answers."""
    async with job.connections.acquire(datname) as connection:
        for name in ("statement_timeout", *(_FREE if youngest else ())):
            await connection.fetchval("select set_config($1, '0', false)", name)
        try:
            yield connection
        finally:
            if not connection.is_closed():
                await connection.execute("reset all")


def figures_of(point: Point | None) -> dict[str, float | str]:
    if point is None:
        return {}
    return {
        "recall_ratio": point.recall.ratio,
        "recall_low_ratio": point.recall.low,
        "recall_high_ratio": point.recall.high,
        "search_seconds": point.seconds,
    }


async def glance(connection: Connection, index: VectorIndex, queries: int) -> Point | None:
    """Recall within seconds and with few reads; None where it cannot be told so."""
    cost = await cost_of(connection, index)
    if cost is None or not queries:
        return None
    most = cost.searches_may_read(_CHEAP_SHARE, index)
    try:
        sample = await sample_queries(connection, index, min(queries, _CHEAP_QUERIES))
        return await cheap_probe(connection, index, sample, Allowance(index, most, _CHEAP_SECONDS)) if sample else None
    except (ActionError, asyncpg.QueryCanceledError):  # another index on the column answers; a search takes too long
        return None


async def look_at(job: Job, index: VectorIndex, queries: int, *, youngest: bool = False) -> Seen:
    """Recall against exact answers, and what the planner makes of the index as things are.

    Raises:
        ActionError: with `youngest`, that the planner takes it not even where nothing is against it.
    """
    async with _session(job, index.datname) as connection:
        if youngest and index.method is Method.HNSW:  # the old one would search all its lists: no rival any more
            await connection.fetchval("select set_config('ivfflat.probes', $1, false)", str(MOST_LISTS))
        use = await explain_use(connection, index)
        sample = await sample_queries(connection, index, queries) if queries else []
    if not sample:
        return Seen(None, use, index.rows or 0.0)
    truth = await _truth(job, index, sample)
    async with _session(job, index.datname, youngest=youngest) as connection:
        try:
            (point,) = await search_curve(connection, index, sample, truth, (None,)) or (None,)
        except ActionError:
            if youngest:
                raise
            point = None  # a second index on the column hides this one
    return Seen(point, use, index.rows or 0.0)


async def _truth(job: Job, index: VectorIndex, sample: list[Query]) -> list[list[float]]:
    search = ExactSearch(index, sample, K)
    loop, whole = asyncio.get_running_loop(), max(index.rows or 0.0, 1.0)

    def tell(rows: int) -> None:  # from another thread
        said = "reading the table once, for the exact answers"
        loop.call_soon_threadsafe(job.progress, min(1.0, rows / whole), said)

    await read_exact(job.environment, job.secrets, index, search, tell=tell)
    return search.distances


def measurable(index: VectorIndex, queries: int) -> int:
    """How many queries to ask; none where exact answers are not computed for such an index."""
    return 0 if refusal(index) else queries


async def the_index(job: Job, planned: Object, oid: int) -> VectorIndex:
    """Raises ActionError where it is gone."""
    async with job.connections.acquire(planned["datname"]) as connection:
        found = await vector_indexes(connection, oids=[oid])
    if not found:
        raise ActionError(f"{planned['indexrelname']} or its table was dropped or made anew since the plan")
    return found[0]


def faults(use: Use, rows: float) -> str:
    """Why the planner does not use the index although it should: a small table is read as a whole, and rightly so."""
    harmless = {Cause.COST, Cause.STATISTICS} if rows < FEW_ROWS else frozenset[Cause]()
    return "; ".join(reason.text for reason in use.reasons if reason.remedy and reason.cause not in harmless)


def prove(new: Seen, before: Figures, loss: float, promised: float | None) -> str | None:
    """What speaks against the new index; None: nothing. `promised` is the recall that the policy asks for."""
    if before["used"] and new.use.served_by is None and new.rows >= FEW_ROWS:
        return f"the planner would rather read the whole table, at a cost of {new.use.cost:,.0f}"
    if new.point is None:
        return None
    found = new.point.recall.ratio
    known = before.get("recall_ratio")
    if known is not None:
        was, least = float(known), float(before.get("recall_low_ratio", known))
        # both come from samples: what a difference of two such figures may be by chance is not held against the new one
        chance = math.hypot(was - least, new.point.recall.high - found)
        if was - found > max(loss, chance):
            return f"recall is {found:.3f} and was {was:.3f}: more than {loss:g} is lost"
    if known is None and promised is not None and found < promised - loss:
        return f"recall is {found:.3f}, {promised:g} is promised"
    return None


def promised_recall(job: Job, method: Method) -> float | None:
    policy = job.environment.policy.vectors
    return policy.hnsw_recall if method is Method.HNSW else policy.ivfflat_recall
