"""One revision of Alembic on an environment: alone, without a queue behind its locks, and with a clear end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from actions._action import Figures, Job
from actions._migration_effect import listed
from actions._migration_place import Place, application_of, look, rows_of
from actions._session import alone
from fleet.connections import Connection
from fleet.errors import ActionError, ProcessError
from fleet.migrating import Access, Application
from fleet.schema import Catalogue, Difference, compare, read_catalogue, suggest

_LOOK_SECONDS = 1.0
# of our child's sessions: what it builds, and for how long it has been waiting for whose lock on a table
_SESSIONS = """
    select a.pid, (select min(l.waitstart) from pg_catalog.pg_locks l
            where l.pid = a.pid and not l.granted and l.locktype = 'relation') as waiting_since,
        clock_timestamp() as now,
        (select string_agg(format('%s (%s, %s)', b.pid, b.usename, coalesce(nullif(b.application_name, ''), 'unnamed')),
            ', ') from pg_catalog.pg_stat_activity b where b.pid = any(pg_blocking_pids(a.pid))) as blockers,
        p.phase, coalesce(nullif(p.blocks_done, 0) / nullif(p.blocks_total, 0)::float8,
            nullif(p.tuples_done, 0) / nullif(p.tuples_total, 0)::float8, 0) as done,
        (select relname::text from pg_catalog.pg_class where oid = p.index_relid) as index
    from pg_catalog.pg_stat_activity a
    left join pg_catalog.pg_stat_progress_create_index p on p.pid = a.pid
    where a.application_name = $1 and a.datname = current_database()
"""
# an invalid one of that name, unless somebody is at work on its table
_LEFT_OVERS = """
    select format('%I.%I', n.nspname, i.relname) as name
    from unnest($1::text[]) wanted
    join pg_catalog.pg_class i on i.oid = to_regclass(wanted)
    join pg_catalog.pg_namespace n on n.oid = i.relnamespace
    join pg_catalog.pg_index x on x.indexrelid = i.oid and not x.indisvalid
    where not exists (
        select from pg_catalog.pg_locks l
        where l.relation = x.indrelid and l.database = (select oid from pg_database where datname = current_database())
          and l.pid <> pg_backend_pid()
          and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
              'AccessExclusiveLock'))
    order by 1
"""
_END_MILLISECONDS = 5000
_END = """
    select pg_terminate_backend(pid, $2) from pg_catalog.pg_stat_activity
    where starts_with(application_name, $1) and application_name like '%/alembic' and datname = current_database()
"""
_IN_TIME = ("lock timeout", "LockNotAvailable", "lock_timeout")


@dataclass(frozen=True, slots=True)
class Move:
    """One call of Alembic. `done` tells from the rows of the version table that it was made already."""

    what: str
    revision: str
    datname: str
    run: Callable[[Application, Access], Awaitable[None]]
    done: Callable[[Sequence[str]], bool]
    ready: Callable[[Sequence[str]], bool]
    builds: tuple[str, ...] = ()
    concurrently: bool = False


async def make_move(job: Job, place: Place, move: Move) -> Figures:
    """Make it once, whoever else tries.

    Raises:
        asyncpg.LockNotAvailableError: it waited too long for a lock, and may be tried again.
        ActionError: it failed; the message says what is left, and the way back.
    """
    application = application_of(job)
    settings = job.environment.migrations
    async with job.changes.acquire(place.datname) as connection, alone(connection, job, f"alembic {place.datname}"):
        rows = await rows_of(connection, settings, place.datname)
        if move.done(rows):
            return {"skipped": "it was made already"}
        if not move.ready(rows):
            raise ActionError(
                f"{place.datname} is at {', '.join(rows) or 'base'} by now: {move.what} {move.revision} does not fit",
                hint="somebody else has migrated it; ask again",
            )
        dropped = await drop_left_overs(connection, move.builds)
        before = await read_catalogue(connection)
        # what waits for transactions waits for a lock, too; the watch below ends what queues for a table
        wait = "0" if move.concurrently else f"{settings.lock_timeout.total_seconds() * 1000:.0f}ms"
        access = await application.access(
            job.environment, job.secrets, place.datname, name=label(job), settings={"lock_timeout": wait}
        )
        begun = job.now()
        try:
            await _watch(job, place.datname, move.run(application, access))
        except (ProcessError, asyncpg.LockNotAvailableError) as error:
            raise await _failed(job, connection, move, before, error) from error
        rows = await rows_of(connection, settings, place.datname)
        if not move.done(rows):
            raise ActionError(
                f"alembic said that all was well, and {place.datname} is at {', '.join(rows) or 'base'}",
                hint="does its env.py use the URL that it is given?",
            )
    figures: dict[str, float | str] = {"revision": ", ".join(rows) or "base", "alembic_seconds": job.now() - begun}
    return figures | ({"left_overs_dropped": listed(dropped)} if dropped else {})


async def drop_left_overs(connection: Connection, builds: Sequence[str]) -> list[str]:
    """Drop the invalid indexes of these names that a failed build left; Alembic would find them in its way."""
    found = [row["name"] for row in await connection.fetch(_LEFT_OVERS, list(builds))]
    for name in found:
        await connection.execute("set lock_timeout = '10s'")
        try:
            await connection.execute(f"drop index concurrently {name}")
        finally:
            if not connection.is_closed():
                await connection.execute("reset lock_timeout")
    return found


async def _watch(job: Job, datname: str, work: Awaitable[None]) -> None:
    """Wait for the child; tell how far a build is, and end what queues for a lock longer than it may."""
    task = asyncio.ensure_future(work)
    blockers: str | None = None
    try:
        while blockers is None and not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            with suppress(asyncpg.PostgresError, OSError):
                blockers = await _look(job, datname)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            await end_sessions(job, datname)
    if blockers is None:
        return task.result()
    limit = job.environment.migrations.lock_timeout.total_seconds()
    raise asyncpg.LockNotAvailableError(f"it waited longer than {limit:g} s for a lock that is held by {blockers}")


async def end_sessions(job: Job, datname: str) -> None:
    """End the sessions of Alembic that the run has begun: a statement outlives the client that is killed."""
    async with job.connections.acquire(datname) as connection:
        await connection.execute(_END, f"custode/{job.run_id}/", _END_MILLISECONDS)


async def _look(job: Job, datname: str) -> str | None:
    """Who has kept a session of the child waiting for too long; None: nobody has."""
    limit = job.environment.migrations.lock_timeout
    async with job.connections.acquire(datname) as connection:
        for row in await connection.fetch(_SESSIONS, label(job)):
            if row["phase"] is not None:
                job.progress(float(row["done"]), f"building {row['index']}: {row['phase']}")
            if row["waiting_since"] is not None:
                job.progress(0.0, f"waits for {row['blockers'] or 'a lock'}")
                if row["now"] - row["waiting_since"] > limit * 1.5:  # its own lock_timeout comes first
                    return str(row["blockers"] or "somebody")
    return None


async def _failed(
    job: Job, connection: Connection, move: Move, before: Catalogue, error: ProcessError | asyncpg.LockNotAvailableError
) -> Exception:
    """What to raise: with what is there now, and what would take it back."""
    dropped: list[str] = []
    differences: list[Difference] | None = None
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        dropped = await drop_left_overs(connection, move.builds)
        differences = compare(await read_catalogue(connection), before)
    said = error.message if isinstance(error, ProcessError) else str(error)
    waited = isinstance(error, asyncpg.LockNotAvailableError) or any(word in said for word in _IN_TIME)
    if waited and differences == []:
        return asyncpg.LockNotAvailableError(f"{move.what} {move.revision}: {said}; nothing of it is left")
    rows = await rows_of(connection, job.environment.migrations, move.datname)
    at = ", ".join(rows) or "base"
    if differences is None:
        left = f"what is left of it could not be read, {move.datname} is at {at}"
    elif not differences:
        left = f"nothing of it is left, {move.datname} is at {at}"
    else:
        told = listed(f"{one.kind.replace('_', ' ')} {one.object}" for one in differences)
        sql = "".join(f"\n  {one};" for one in suggest(differences, before))
        left = f"it is done in part, {move.datname} is still at {at}: {told}; what takes that back:{sql}"
    gone = f"; dropped the invalid {listed(dropped)}" if dropped else ""
    return ActionError(f"{move.what} {move.revision} failed: {said}{gone}; {left}", hint=way_back(job))


def way_back(job: Job) -> str:
    """In words, for whom the run has failed."""
    start = job.data.get("start")
    parts = []
    if start is not None and len(start) < 2:
        target = start[0] if start else "base"
        parts.append(f"back to where it was: custode act downgrade {job.environment.name} -p revision={target}")
    if backup := job.data.get("backup"):
        parts.append(f"or from the backup before it: custode recover {job.environment.name} --backup {backup}")
    return "; ".join(parts) or "mend the script, then ask again"


def downgrade(place: Place, planned: Mapping[str, object]) -> Move:
    """The move that takes one revision of a plan back."""
    revision, graph = str(planned["revision"]), place.graph
    target = downgrade_target(place, revision, place.position.current)
    return Move(
        "downgrade",
        revision,
        place.datname,
        lambda application, access: application.downgrade(target, access),
        lambda rows: revision not in graph.applied(rows),
        lambda rows: revision in rows,
        *_builds(planned),
    )


def downgrade_target(place: Place, revision: str, current: Collection[str]) -> str:
    """What `alembic downgrade` is told to take back this revision alone."""
    parent = min(place.graph.down[revision], default="base")
    return parent if len(current) <= 1 else f"{revision}@{parent}"


def upgrade(place: Place, planned: Mapping[str, object]) -> Move:
    """The move of one revision of a plan."""
    revision = str(planned["revision"])
    graph = place.graph
    return Move(
        "upgrade",
        revision,
        place.datname,
        lambda application, access: application.upgrade(revision, access),
        lambda rows: revision in graph.applied(rows),
        lambda rows: graph.parents[revision] <= graph.applied(rows),
        *_builds(planned),
    )


def _builds(planned: Mapping[str, object]) -> tuple[tuple[str, ...], bool]:
    builds = planned["builds"]
    names = tuple(map(str, builds)) if isinstance(builds, list) else ()
    return names, bool(planned["concurrently"])


async def reopen(job: Job, planned: Mapping[str, object]) -> Place:
    """The place of a plan, with the script as it was approved. Raises ActionError where it has changed since."""
    place = await look(job, str(planned["datname"]))
    revision = str(planned["revision"])
    found = place.graph.revisions.get(revision)
    if found is None or found.sha256 != planned["sha256"]:
        raise ActionError(f"the script of {revision} is not the one that was planned", hint="ask again")
    return place


def label(job: Job) -> str:
    """What the sessions of Alembic are called: those of the run, told from our own."""
    return f"custode/{job.run_id}/{job.attempt}/alembic"
