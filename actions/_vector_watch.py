"""A statement that may take hours: how far it is, whom it waits for, and an end to its patience.

CREATE and DROP INDEX CONCURRENTLY wait for the transactions of others, and let them pass: such a wait is no reason to
fail within seconds, but to give up some day.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from actions._action import Job
from actions._together import together
from fleet.connections import Connection
from fleet.errors import ActionError, ConnectError
from fleet.index_builds import BuildProgress

POLL_SECONDS = 1.0
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectError, OSError)
_PROGRESS = """
    select p.command, p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total,
        (select string_agg(format('session %s of %s (%s), in a transaction for %s s', a.pid, a.usename,
                coalesce(nullif(a.application_name, ''), '-'),
                round(extract(epoch from clock_timestamp() - a.xact_start))), '; ')
            from unnest(pg_blocking_pids($1)) pid join pg_catalog.pg_stat_activity a using (pid)) as holders,
        cardinality(pg_blocking_pids($1)) > 0 as waits
    from (select) one left join pg_catalog.pg_stat_progress_create_index p on p.pid = $1
"""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the server tells of a statement: how far a build is, and who stands in its way."""

    build: BuildProgress | None
    holders: str | None
    waits: bool

    @property
    def ratio(self) -> float:
        """How much of a build is done, from 0 to 1."""
        return 0.0 if self.build is None else self.build.ratio

    def tell(self, what: str) -> str:
        if self.waits:
            return f"{what} waits for {self.holders or 'somebody whom the role may not see'}"
        return what if self.build is None else f"{what}: {self.build.phase}"


def sight_of(record: Mapping[str, Any]) -> Sight:
    counts = [record[name] or 0 for name in ("blocks_done", "blocks_total", "tuples_done", "tuples_total")]
    build = BuildProgress(record["command"], record["phase"], *counts) if record["phase"] else None
    return Sight(build, record["holders"], bool(record["waits"]))


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
                return sight_of(dict(record)) if record is not None else None
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
