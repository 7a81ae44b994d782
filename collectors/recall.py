"""Recall of every pgvector index, estimated cheaply: what it finds, against what it finds at a high setting.

The searches are for vectors of the table itself, or those of policy.vectors.queries; see fleet/vectors/sample.py. An
index is probed when its turn comes: those that were probed longest ago go first, until the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from collectors import Collector, Family, Rows, Session, Target, gauge
from fleet.durations import Duration
from fleet.errors import ActionError, ConnectError
from fleet.vectors import VectorIndex, vector_indexes
from fleet.vectors.allowance import Allowance, cost_of
from fleet.vectors.probe import cheap_probe
from fleet.vectors.recall import Point
from fleet.vectors.sample import sample_queries

RECALL = Family(
    ("datname", "schemaname", "relname", "indexrelname"),
    (
        gauge(
            "vector_index_recall_ratio",
            "Share of the 10 nearest rows that searches through this index find, as far as it can know, 0 to 1.",
        ),
        gauge("vector_index_recall_low_ratio", "Lower bound of this share, with 95 % certainty."),
        gauge("vector_index_recall_high_ratio", "Upper bound of this share, with 95 % certainty."),
        gauge("vector_index_recall_queries", "How many searches the share was estimated by."),
        gauge("vector_index_search_seconds", "Median time of these searches, with the way to the server, in seconds."),
        gauge("vector_index_search_setting", "hnsw.ef_search or ivfflat.probes that they were made with."),
        gauge("vector_index_recall_probe_timestamp_seconds", "When the index was last probed, unix seconds."),
    ),
)
_INDEX_SECONDS = 10.0  # at most for the searches through one index
_SHARE = 0.6  # of the time limit: an index is not begun after that
_GONE = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
)
_FAILURES = (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_Key = tuple[str, int]  # database, object id


@dataclass(frozen=True, slots=True)
class _Probed:
    at: float
    point: Point | None = None


class RecallCollector(Collector):
    name = "recall"
    summary = "how many of the nearest rows searches through each pgvector index find, and how fast"
    families = (RECALL,)

    class Options(Collector.Options):
        interval: Duration = timedelta(hours=1)
        timeout: Duration = timedelta(seconds=60)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._probed: dict[_Key, _Probed] = {}
        self._indexes: dict[str, list[VectorIndex]] = {}  # by database

    async def collect(self, target: Target) -> list[Rows]:
        until = time.monotonic() + self.options.timeout.total_seconds() * _SHARE
        indexes = await target.each(self._list)
        # one after the other, whatever the database: that is load enough, and leaves connections to other collectors
        for index in sorted(indexes, key=lambda one: self._probed.get(_key(one), _Probed(0.0)).at):
            if time.monotonic() < until:
                await self._probe(target, index)
        known = {_key(index) for index in indexes}
        if not target.failures:
            self._probed = {key: probed for key, probed in self._probed.items() if key in known}
        return [RECALL.rows([record for index in indexes if (record := self._record(index))])]

    async def _list(self, session: Session) -> list[VectorIndex]:
        try:
            self._indexes[session.database] = await vector_indexes(session.connection)
        except asyncpg.LockNotAvailableError:  # a table is locked: what is known of all of them stands
            return self._indexes.get(session.database, [])
        return self._indexes[session.database]

    async def _probe(self, target: Target, index: VectorIndex) -> None:
        """Keeps what was found; what cannot be probed is a gap, and has no figures any more."""
        name = f"recall of {index.datname}.{index.quoted}"
        found: Point | None = None
        try:
            async with target.session(index.datname) as session:
                found = await _measured(target, session, index)
            if found is None and index.valid and index.rows:
                target.gap(name, "its pages are not in shared_buffers, and may not be brought in: see probe_share")
        except asyncpg.InsufficientPrivilegeError:
            target.gap(name, "needs SELECT on the table, without row security")
        except _GONE:
            return  # another time
        except asyncpg.QueryCanceledError:
            target.gap(name, "a search takes too long")
        except ActionError as error:
            target.gap(name, error.message)
        except _FAILURES as error:
            target.failed(index.datname, error)
            return
        self._probed[_key(index)] = _Probed(target.now, found)

    def _record(self, index: VectorIndex) -> Sequence[Any] | None:
        probed = self._probed.get(_key(index))
        if probed is None or probed.point is None:
            return None
        point, recall = probed.point, probed.point.recall
        names = (index.datname, index.schemaname, index.relname, index.indexrelname)
        figures = (recall.ratio, recall.low, recall.high, recall.queries, point.seconds, point.setting)
        return (*names, *figures, probed.at)


async def _measured(target: Target, session: Session, index: VectorIndex) -> Point | None:
    policy = target.environment.policy.vectors
    cost = await cost_of(session.connection, index)
    if not index.valid or cost is None:
        return None
    most = cost.searches_may_read(policy.probe_share, index)
    if most == 0:
        return None
    sql = policy.queries_of(index.schemaname, index.indexrelname)
    queries = await sample_queries(session.connection, index, sql=sql)
    if not queries:
        return None
    return await cheap_probe(session.connection, index, queries, Allowance(index, most, _INDEX_SECONDS))


def _key(index: VectorIndex) -> _Key:
    return index.datname, index.oid
