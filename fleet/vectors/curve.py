"""Recall and latency of one index at several settings, within seconds: against the index itself, set to find most."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.connections import Connection
from fleet.policy import VectorPolicy
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.probe import usual_settings
from fleet.vectors.recall import K, Point, point
from fleet.vectors.recommended import Method, probes_for
from fleet.vectors.sample import sample_queries
from fleet.vectors.search import search_many

_QUERIES = 40
_SECONDS = 20.0  # for all searches
_ORACLE_EF_SEARCH = 400


async def measure_curve(
    connection: Connection, index: VectorIndex, policy: VectorPolicy, settings: Iterable[int] = ()
) -> list[Point]:
    """At `settings` and at the usual ones, the least first; fewer where time or what `policy` lets it read is used up.

    Raises:
        ActionError: the planner does not search through this index.
        asyncpg.PostgresError: the table is locked, gone, or not ours to read.
    """
    cost = await cost_of(connection, index)
    sql = policy.queries_of(index.schemaname, index.indexrelname)
    queries = await sample_queries(connection, index, _QUERIES, sql)
    if cost is None or not queries:
        return []
    most = _most(index)
    allowance = Allowance(index, cost.searches_may_read(policy.probe_share, index), _SECONDS)
    found: list[Point] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        truth = await search_many(connection, index, queries, K, most, allowance=allowance)
        asked = queries[: len(truth.distances)]
        for setting in sorted(one for one in {*usual_settings(index), *settings} if one < most):
            if await allowance.spent(connection):
                break
            answers = await search_many(connection, index, asked, K, setting, allowance=allowance)
            if (measured := point(answers, truth.distances)) is not None:
                found.append(measured)
    return found


def _most(index: VectorIndex) -> int:
    """The setting that finds nearly all that the index can find."""
    if index.method is Method.HNSW:
        return _ORACLE_EF_SEARCH
    lists = index.options["lists"]
    return min(lists, 4 * probes_for(lists))
