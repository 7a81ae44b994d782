"""Building an index anew in its place (REINDEX CONCURRENTLY): memory, locks, and what a failed build leaves."""

from __future__ import annotations

import re
from datetime import timedelta

import asyncpg

from actions._action import Job, Object
from actions._index_bloat import Index
from actions._invalid_indexes import InvalidIndex, invalid_indexes
from actions._restore_memory import MEMORY_TROUBLE, Budget, needed, ways
from actions._vector_build import LOCK_TIMEOUT
from actions._vector_memory import machine, size_build
from actions._vector_watch import attend
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.vectors.hazards import Work, forbidden, hazards_of

PATIENCE = timedelta(hours=6)  # a build waits for every transaction that began before it
_DROP_LOCK_TIMEOUT = "10s"  # waiting for it holds nobody up
_SORT_MB = 256  # of more, sorting entries gains little

_SERVER = """
    select current_setting('server_version_num')::int as version,
        (select extversion from pg_catalog.pg_extension where extname = 'vector') as vector_version,
        current_setting('max_parallel_maintenance_workers')::int as workers
"""
_LEFT_OVER = re.compile(r"_cc(?:new|old)\d*$")  # what REINDEX CONCURRENTLY calls them
_HEAD = re.compile(r"^CREATE (?:UNIQUE )?INDEX (?:\"(?:[^\"]|\"\")*\"|\S+) ON ")


async def refuse_hazards(job: Job, datname: str) -> None:
    """Raises ActionError where the server's REINDEX CONCURRENTLY is missing, or known to corrupt."""
    async with job.connections.acquire(datname) as connection:
        ((version, vector_version, _),) = await connection.fetch(_SERVER)
    hazard = forbidden(hazards_of(version, vector_version), Work.CONCURRENTLY)
    if hazard is not None:
        raise ActionError(f"{hazard.name}: {hazard.trouble}", hint=f"{hazard.remedy} ({hazard.source})")
    if version < 120000:
        raise ActionError("REINDEX CONCURRENTLY needs PostgreSQL 12", hint="create the index anew beside the old one")


async def budget_for(job: Job, index: Index) -> Budget:
    """Memory and workers of its build. Raises ActionError where an IVFFlat index would not be built at all."""
    server = await machine(job, index.datname)
    async with job.connections.acquire(index.datname) as connection:
        ((version, vector_version, workers),) = await connection.fetch(_SERVER)
    if index.shape is None:
        return Budget(max(server.own, min(_SORT_MB, server.most)), workers)
    hazards = hazards_of(version, vector_version, index.shape.method)
    parallel = forbidden(hazards, Work.PARALLEL_BUILD) is None
    return size_build(server, index.shape, index.tuples or 0.0, parallel=parallel)[0]


async def build_anew(job: Job, connection: Connection, index: Index) -> None:
    """REINDEX it; with less memory or without workers where there is too little.

    Raises:
        ActionError: the disk is full, or the memory does not suffice, or others did not let it end.
        asyncpg.LockNotAvailableError: somebody else builds, vacuums or changes the table.
    """
    tries, last = list(ways(await budget_for(job, index))), ""
    while tries:
        await drop_left_overs(connection, index.object)
        await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        # whether somebody is in the way; reads and writes pass meanwhile
        await connection.execute(
            f"begin; lock table only {index.quoted_table} in share update exclusive mode; rollback"
        )
        await connection.execute(";".join([*tries.pop(0), "set lock_timeout = 0"]))
        statement = f"reindex index concurrently {index.quoted}"
        try:
            await attend(job, connection, statement, f"reindex of {index.indexrelname}", PATIENCE)
        except MEMORY_TROUBLE as error:
            said = str(error)
            if isinstance(error, asyncpg.DiskFullError) and "shared memory" not in said:
                await drop_left_overs(connection, index.object)  # others need the room now
                raise ActionError(
                    f"the disk of the server is full: {said}", hint="make room for about twice the size of the index"
                ) from error
            more = needed(error)
            if more is not None and said != last:
                tries.insert(0, more.settings)
            last = said
        else:
            return
    raise ActionError(f"the index cannot be built: {last}", hint="raise maintenance_work_mem of the server")


async def left_overs(connection: Connection, planned: Object) -> list[InvalidIndex]:
    """What a REINDEX CONCURRENTLY of the planned index left: invalid, of the same definition, and named for it."""
    found = await invalid_indexes(connection, planned["datname"], (planned["schemaname"], planned["relname"], None))
    return [
        index
        for index in found
        if index.table_oid == planned["table_oid"]
        and _LEFT_OVER.search(index.indexrelname)
        and _body(index.definition) == _body(planned["definition"])
    ]


async def drop_left_overs(connection: Connection, planned: Object) -> int:
    """Drop those; how many there were. What somebody is building stays."""
    dropped = [index for index in await left_overs(connection, planned) if index.obstacle is None]
    for index in dropped:
        await drop_concurrently(connection, index.quoted)
    return len(dropped)


async def drop_concurrently(connection: Connection, quoted: str) -> None:
    """Drop an index while others read and write its table; that it is gone is no error.

    Raises:
        asyncpg.LockNotAvailableError: an old transaction uses the table.
    """
    await connection.execute(f"set lock_timeout = '{_DROP_LOCK_TIMEOUT}'")
    await connection.execute(f"drop index concurrently if exists {quoted}")


def _body(definition: str) -> str:
    """What of a definition stays the same under another name."""
    return _HEAD.sub("", definition)
