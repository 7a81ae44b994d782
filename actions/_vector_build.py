"""Building a vector index beside another one, under a name that only this run gives.

Whatever moment a process dies in, the next attempt finds by the name what there is: a finished index is taken as it is,
an invalid one is dropped. What runs that were given up left on the table bears such names too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import structlog

from actions._action import Figures, Job, Object
from actions._restore_memory import MEMORY_TROUBLE, Budget, needed, ways
from actions._vector_watch import attend
from fleet.connections import Connection
from fleet.errors import ActionError

log = structlog.get_logger()

LOCK_TIMEOUT = "3s"  # for what others would have to queue behind
_POLL_SECONDS = 0.1
_LEFT_OVER = "^custode_(new|old)_[0-9a-f]{12}$"
_INDEXES = """
    select i.oid::int8 as oid, i.relname::text as name, format('%I.%I', n.nspname, i.relname) as quoted,
        x.indisvalid as valid, pg_get_indexdef(i.oid) as definition, pg_relation_size(i.oid)::float8 as bytes
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_namespace n on n.oid = i.relnamespace
    where x.indrelid = $1
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """An index as it is now."""

    oid: int
    name: str
    quoted: str
    valid: bool
    definition: str
    bytes: float

    @property
    def object(self) -> Object:
        return {"left_over": self.quoted, "oid": self.oid, "definition": self.definition}


def new_name(job: Job) -> str:
    """Of an index until it has taken the place of the old one."""
    return f"custode_new_{job.run_id}"


def old_name(job: Job) -> str:
    """Of an index whose place is taken."""
    return f"custode_old_{job.run_id}"


def kept_name(job: Job) -> str:
    """Of one that stays."""
    return f"custode_kept_{job.run_id}"


@asynccontextmanager
async def at_work(job: Job, planned: Object) -> AsyncIterator[Connection]:
    """A session that changes something, the only one of the run; no limit of time but a short one for locks.

    Who waited in the database for another attempt would hold up the build that he waits for: a build waits for all who
    look at the database as it was. So it is asked again and again.
    """
    what = f"custode {job.run_id} {planned['oid']}"
    async with job.changes.acquire(planned["datname"]) as connection:
        await _turn(connection, what)
        await connection.execute(f"set statement_timeout = 0; set lock_timeout = '{LOCK_TIMEOUT}'")
        try:
            yield connection
        finally:
            if not connection.is_closed():
                await connection.execute("select pg_advisory_unlock_all()")
                await connection.execute("reset all")


async def _turn(connection: Connection, what: str) -> None:
    while True:
        if await connection.fetchval("select pg_try_advisory_lock(hashtextextended($1, 0))", what):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def standing(connection: Connection, planned: Object) -> dict[str, Standing]:
    """The indexes of the table by name; none where it is gone."""
    records = await connection.fetch(_INDEXES, planned["table_oid"])
    return {record["name"]: Standing(**dict(record)) for record in records}


async def left_overs(connection: Connection, job: Job, table_oid: int) -> list[Standing]:
    """What other runs left on the table and never came back for."""
    found = await connection.fetch(f"{_INDEXES} and i.relname ~ $2 order by 1", table_oid, _LEFT_OVER)
    ours = {new_name(job), old_name(job)}
    return [Standing(**dict(record)) for record in found if record["name"] not in ours]


async def clear(
    job: Job, connection: Connection, planned: Object, others: Sequence[Object], patience: timedelta
) -> int:
    """Drop the planned left-overs, as long as they are what they were; how many there were.

    Raises:
        asyncpg.LockNotAvailableError: somebody holds the table.
    """
    await _knock(connection, planned)
    names = {one.oid: one.name for one in await left_overs(connection, job, planned["table_oid"])}
    found = [names[other["oid"]] for other in others if other["oid"] in names]
    for name in found:
        await drop(job, connection, planned, name, patience)
    return len(found)


async def build(job: Job, planned: Object, budget: Budget, patience: timedelta) -> Figures:
    """Create the index that is planned. Leaves its object id in the data of the run.

    Raises:
        ActionError: the disk is full, the memory does not suffice, or others did not let it end.
        asyncpg.LockNotAvailableError: somebody holds the table.
    """
    begun = job.now()
    async with at_work(job, planned) as connection:
        built = (await standing(connection, planned)).get(new_name(job))
        if built is None or not built.valid:
            await _create(job, connection, planned, budget, patience)
            built = (await standing(connection, planned)).get(new_name(job))
    if built is None or not built.valid:
        raise ActionError(f"{new_name(job)} was built, and is not there", hint="did somebody drop it?")
    job.data["new_oid"] = built.oid
    return {"built": built.definition, "bytes": built.bytes, "seconds": job.now() - begun}


async def _create(job: Job, connection: Connection, planned: Object, budget: Budget, patience: timedelta) -> None:
    """With less memory or fewer workers where there is too little; each failure leaves an index to be dropped."""
    tries, last = list(ways(budget)), ""
    while tries:
        settings = tries.pop(0)
        await drop(job, connection, planned, new_name(job), patience)
        await _knock(connection, planned)
        await connection.execute(";".join([*settings, *_QUICK]))
        try:
            await attend(job, connection, planned["create"], f"build of {planned['indexrelname']}", patience)
        except asyncpg.PostgresError as error:
            last, before = str(error), last
            if _is_full_disk(error):
                await drop(job, connection, planned, new_name(job), patience)  # others need the room now
                raise ActionError(
                    f"the disk of the server is full: {error}", hint="make room for about twice the size of the index"
                ) from error
            if not isinstance(error, MEMORY_TROUBLE):
                raise
            log.warning("build_needs_other_memory", index=planned["indexrelname"], error=last)
            more = needed(error)
            if more is not None and last != before:
                tries.insert(0, more.settings)
        else:
            return
    raise ActionError(f"the index cannot be built: {last}", hint="give it more memory: maintenance_mb")


def _is_full_disk(error: asyncpg.PostgresError) -> bool:
    """A quota too; but not that of shared memory."""
    hint = error.hint or ""
    return (isinstance(error, asyncpg.DiskFullError) or "disk space" in hint) and "shared memory" not in str(error)


# workers are counted by the size of the table, which is small where the vectors are stored beside it; and there is no
# lock to wait for but those of others' transactions, which are let pass
_QUICK: Sequence[str] = ("set min_parallel_table_scan_size = 0", "set lock_timeout = 0")


async def _knock(connection: Connection, planned: Object) -> None:
    """Whether the table can be had at all: the build itself would wait without an end."""
    await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
    with suppress(asyncpg.WrongObjectTypeError):  # a materialized view cannot be locked by hand
        # two statements are one transaction
        await connection.execute(f"select; lock table only {planned['table']} in share update exclusive mode")


async def drop(job: Job, connection: Connection, planned: Object, name: str, patience: timedelta) -> Standing | None:
    """Drop an index of the table, as it was; None where it is not there. It waits for those who use the table."""
    found = (await standing(connection, planned)).get(name)
    if found is not None:
        await connection.execute("set lock_timeout = 0")
        await attend(job, connection, f"drop index concurrently if exists {found.quoted}", f"drop of {name}", patience)
        await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
    return found
