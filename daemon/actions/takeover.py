"""Taking a run over: the sessions of whoever had it before are ended, so that a sleeper who wakes can change nothing.

A session that can write asks, once it is open, whether the run is still its own; so each is either open before it is
ended here, or refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from actions import Job
from fleet.connections import Connection
from fleet.errors import ConnectError

WAIT_MILLISECONDS = 5000  # until a session that was told to end is gone
_OTHERS = """
select pid, pg_terminate_backend(pid, $3) as gone
from pg_stat_activity
where starts_with(application_name, $1) and application_name <> $2 and pid <> pg_backend_pid()
"""
# what had ended by itself before it was told to is no server process any more, and told as not ended
_LEFT = """
select format('process %s, %s, waits for %s', pid, state, coalesce(wait_event, 'nothing')) as said
from pg_stat_activity where pid = any($1) and starts_with(application_name, $2)
"""


def application_name(run_id: str, attempt: int) -> str:
    """What the server calls the sessions of one attempt."""
    return f"custode/{run_id}/{attempt}"


@asynccontextmanager
async def _anywhere(job: Job) -> AsyncIterator[Connection]:
    """A connection to `postgres`, else to the database of the DSN, which may be the one that is damaged or gone."""
    async with AsyncExitStack() as held:
        try:
            connection = await held.enter_async_context(job.connections.acquire("postgres"))
        except (asyncpg.InvalidCatalogNameError, ConnectError):
            connection = await held.enter_async_context(job.connections.acquire())
        yield connection


async def end_sessions(job: Job) -> None:
    """End the sessions of earlier attempts on the environment, and wait until they are gone.

    Raises:
        TimeoutError: one of them does not end.
        ConnectError: the environment cannot be reached.
    """
    ours = application_name(job.run_id, job.attempt)
    async with _anywhere(job) as connection:
        others = await connection.fetch(_OTHERS, f"custode/{job.run_id}/", ours, WAIT_MILLISECONDS)
        doubtful = [row["pid"] for row in others if not row["gone"]]
        left = await connection.fetch(_LEFT, doubtful, f"custode/{job.run_id}/") if doubtful else []
    if left:
        raise TimeoutError(f"a session of an earlier attempt, custode/{job.run_id}, does not end: {left[0]['said']}")
