"""Sessions that are idle in a transaction, known again by when they and their transaction began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from actions._action import Object
from fleet.connections import Connection

# Only what clients opened: no replication, autovacuum or worker. Custode's own, and dumps, whose client is busy
# elsewhere, are never meant. A transaction that failed was rolled back at once: it holds no lock and no snapshot, and
# has no xact_start. A role without pg_read_all_stats sees no state of others: `hidden`.
_MEANT = """
    a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
    and a.state = 'idle in transaction' and a.xact_start is not null and a.application_name !~ '^(custode|pg_dump)'
    and clock_timestamp() - a.state_change > $1::interval
"""
_FIND = """
    select a.pid, a.backend_start, a.xact_start, a.datname, a.usename, a.application_name,
        extract(epoch from clock_timestamp() - a.state_change)::float8 as idle_seconds,
        coalesce(me.rolsuper, false) or (not coalesce(r.rolsuper, false)
            and (pg_has_role(a.usesysid, 'usage') or pg_has_role('pg_signal_backend', 'usage'))) as permitted
    from pg_catalog.pg_stat_activity a
        left join pg_catalog.pg_roles r on r.oid = a.usesysid
        left join pg_catalog.pg_roles me on me.rolname = current_user
    where {meant} and a.datname is not null and ($2::text is null or a.datname = $2)
        and ($3::int is null or a.pid = $3) and ($4::text[] is null or a.application_name = any($4))
    order by a.state_change
"""
_HIDDEN = """
    select count(*) from pg_catalog.pg_stat_activity a
    where a.datid is not null and a.usesysid is not null and a.state is null and a.backend_type is null
        and ($1::text is null or a.datname = $1)
"""
_TERMINATE = """
    select pg_terminate_backend(a.pid) from pg_catalog.pg_stat_activity a
    where {meant} and a.pid = $2 and a.backend_start = $3 and a.xact_start = $4
"""
_ALIVE = """
    select exists (select from pg_catalog.pg_stat_activity where pid = $1 and backend_start = $2 and xact_start = $3)
"""


@dataclass(frozen=True, slots=True)
class IdleSession:
    """Pids are used again; together with both times they are not."""

    pid: int
    backend_start: datetime
    xact_start: datetime
    datname: str
    usename: str
    application_name: str
    idle_seconds: float
    permitted: bool

    @property
    def object(self) -> Object:
        return {
            "pid": self.pid,
            "backend_start": self.backend_start.isoformat(),
            "xact_start": self.xact_start.isoformat(),
            "datname": self.datname,
            "usename": self.usename,
            "application_name": self.application_name,
        }

    def __str__(self) -> str:
        name = self.application_name or "-"
        return f"session {self.pid} of {self.usename} ({name}) in {self.datname}, idle for {self.idle_seconds:.0f} s"


async def idle_sessions(
    connection: Connection,
    idle_for: timedelta,
    datname: str | None,
    pid: int | None,
    applications: Sequence[str] | None,
) -> list[IdleSession]:
    """Those idle for longer than `idle_for`, the longest first, of one database, process, or some applications."""
    records: list[asyncpg.Record] = await connection.fetch(
        _FIND.format(meant=_MEANT), idle_for, datname, pid, applications
    )
    return [IdleSession(**dict(record)) for record in records]


async def hidden_sessions(connection: Connection, datname: str | None) -> int:
    """How many sessions our role sees nothing of."""
    count: int = await connection.fetchval(_HIDDEN, datname)
    return count


async def terminate(connection: Connection, planned: Object, idle_for: timedelta) -> bool:
    """End the session if it is still in the very transaction, and idle; whether it was told to end."""
    return bool(await connection.fetchval(_TERMINATE.format(meant=_MEANT), idle_for, *_identity(planned)))


async def is_alive(connection: Connection, planned: Object) -> bool:
    """Whether the very transaction is still open."""
    return bool(await connection.fetchval(_ALIVE, *_identity(planned)))


def _identity(planned: Object) -> tuple[int, datetime, datetime]:
    began, opened = planned["backend_start"], planned["xact_start"]
    return planned["pid"], datetime.fromisoformat(began), datetime.fromisoformat(opened)
