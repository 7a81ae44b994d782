"""A statement that may take hours: how far it is, whom it waits for, and an end to its patience.

CREATE and DROP INDEX CONCURRENTLY wait for the transactions of others, and let them pass: such a wait is no reason to
fail within seconds, but to give up some day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from actions._action import Job
from actions._together import together
from fleet.connections import Connection
from fleet.errors import ActionError, ConnectError

POLL_SECONDS = 1.0
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectError, OSError)
# where each phase begins and ends, as ratios of the whole. Sources: pgvector's README, "Indexing Progress" (blocks for
# HNSW, tuples in the last phase of IVFFlat); PostgreSQL's manual, "CREATE INDEX Progress Reporting"
_PHASES = (
    ("building index: initializing", 0.0, 0.05),
    ("building index: performing k-means", 0.05, 0.3),
    ("building index: assigning tuples", 0.3, 0.6),
    ("building index: loading tuples", 0.05, 0.85),
    ("building index", 0.0, 0.85),
    ("waiting for writers before validation", 0.85, 0.85),
    ("index validation", 0.85, 0.95),
    ("waiting for old snapshots", 0.95, 0.95),
    ("waiting for readers", 0.97, 0.97),
)
_LOADING_IVFFLAT = (0.6, 0.85)
_PROGRESS = """
    select p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total,
        (select string_agg(format('session %s of %s (%s), in a transaction for %s s', a.pid, a.usename,
                coalesce(nullif(a.application_name, ''), '-'),
                round(extract(epoch from clock_timestamp() - a.xact_start))), '; ')
            from unnest(pg_blocking_pids($1)) pid join pg_catalog.pg_stat_activity a using (pid)) as holders,
        cardinality(pg_blocking_pids($1)) > 0 as waits
    from (select) one left join pg_catalog.pg_stat_progress_create_index p on p.pid = $1
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the server tells of a statement: blocks and rows of the present `phase`, and who stands in its way."""

    phase: str | None
    blocks_done: int | None
    blocks_total: int | None
    tuples_done: int | None
    tuples_total: int | None
    holders: str | None
    waits: bool

    @property
    def ratio(self) -> float:
        """How much of a build is done, from 0 to 1."""
        phase = self.phase or ""
        if phase.endswith("loading tuples") and self.tuples_total:
            begins, ends = _LOADING_IVFFLAT
            return begins + (ends - begins) * _part(self.tuples_done, self.tuples_total)
        for name, begins, ends in _PHASES:
            if phase.startswith(name):
                return begins + (ends - begins) * _part(self.blocks_done, self.blocks_total)
        return 0.0

    def tell(self, what: str) -> str:
        if self.waits:
            return f"{what} waits for {self.holders or 'somebody whom the role may not see'}"
        return f"{what}: {self.phase}" if self.phase else what


def _part(done: int | None, total: int | None) -> float:
    return min(1.0, done / total) if done and total else 0.0


async def attend(job: Job, connection: Connection, statement: str, what: str, patience: timedelta) -> None:
    """Run the statement, and tell how far it is.

    Raises:
        ActionError: it waited for others for longer than `patience`, in one go; it was cancelled.
        asyncpg.PostgresError: as the statement does.
    """
    datname = await connection.fetchval("select current_database()")
    done = asyncio.Event()

    async def run() -> None:
        try:
            await connection.execute(statement)
        finally:
            done.set()

    async def look() -> Sight | None:
        with suppress(*_AWAY):  # the build is none the worse for it
            async with job.connections.acquire(datname) as reader:
                record = await reader.fetchrow(_PROGRESS, connection.get_server_pid())
                return Sight(**dict(record or {}))
        return None

    await together(run(), _watch(look, lambda sight: job.progress(sight.ratio, sight.tell(what)), done, what, patience))


async def _watch(
    look: Callable[[], Any], tell: Callable[[Sight], None], done: asyncio.Event, what: str, patience: timedelta
) -> None:
    loop = asyncio.get_running_loop()
    since: float | None = None
    while not await _is_set(done):
        sight = await look()
        if sight is None or done.is_set():
            continue
        tell(sight)
        since = (since or loop.time()) if sight.waits else None
        if since is not None and loop.time() - since >= patience.total_seconds():
            raise ActionError(
                f"given up after {patience.total_seconds():.0f} s: {sight.tell(what)}",
                hint="end that transaction (terminate_idle_transaction), or try again later",
            )


async def _is_set(done: asyncio.Event) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), POLL_SECONDS)
    return done.is_set()
