"""What actions on a server share: which databases they may work in, and being the only one at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from actions._action import Job
from fleet.backups.facts import databases_of
from fleet.connections import Connection
from fleet.errors import ActionError


async def writable_databases(job: Job, datname: str | None) -> list[str]:
    """The databases of the environment, or the one that is named. Raises ActionError on a standby."""
    async with job.connections.acquire() as connection:
        standby = await connection.fetchval("select pg_is_in_recovery()")
    if standby:
        raise ActionError(f"{job.environment.name} is a standby: nothing can be changed there", hint="ask its primary")
    known = await databases_of(job.environment, job.connections)
    if datname is None:
        return known
    if datname not in known:
        raise ActionError(
            f"{job.environment.name} has no database {datname!r} for us", hint=f"known are: {', '.join(known)}"
        )
    return [datname]


@asynccontextmanager
async def alone(connection: Connection, job: Job, what: str) -> AsyncIterator[None]:
    """Hold `what` against other attempts of the run.

    A statement outlives the client that is killed: until the server has ended it, the next attempt must not look
    whether it was done. Raises asyncpg.LockNotAvailableError where that takes longer than lock_timeout.
    """
    await connection.execute("select pg_advisory_lock(hashtextextended($1, 0))", f"custode {job.run_id} {what}")
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock_all()")
