"""Databases that runs made for themselves and never came back for: found by name and mark, dropped once nobody can.

A run drops its own at its end, or as it is undone. What is left was made by one whose daemon was killed for good, or
whose undo failed. A database goes only where this Custode knows that its run has ended: of any other run nobody can
tell.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import structlog

from actions._action import Figures, Job, Object
from actions._restore_place import upstairs
from actions._session import alone
from fleet.connections import Connection
from fleet.errors import ActionError

log = structlog.get_logger()

# custode_new_RUN has no mark yet in the moment after it is made
_SQL = """
    select d.oid::int8 as oid, d.datname::text as datname, format('%I', d.datname) as quoted, r.run,
        case when has_database_privilege(d.oid, 'connect') or pg_has_role('pg_read_all_stats', 'usage')
            then pg_database_size(d.oid) else 0 end::float8 as bytes,
        pg_has_role(d.datdba, 'usage') as owned
    from pg_catalog.pg_database d cross join lateral (
        select substring(d.datname from '(?:^custode_(?:new|test)|_new)_([0-9a-f]{12})$') as run
    ) r
    where r.run is not null and not d.datistemplate
        and (d.datname = 'custode_new_' || r.run
            or shobj_description(d.oid, 'pg_database') = 'custode restore ' || r.run)
    order by d.datname
"""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """`ended`: its run has come to its end. `owned`: our role may drop it."""

    oid: int
    datname: str
    quoted: str
    run: str
    bytes: float
    owned: bool
    ended: bool

    @property
    def object(self) -> Object:
        return {"left_over": self.datname, "oid": self.oid, "run": self.run}

    @property
    def command(self) -> str:
        return f"DROP DATABASE {self.quoted} WITH (FORCE)"


async def left_over_databases(job: Job, site: Job | None = None) -> list[LeftOver]:
    """Of other runs than `job`, on its server or on that of `site`. Where nobody can tell of runs, none has ended."""
    async with upstairs((site or job).connections) as connection:
        found = [record for record in await connection.fetch(_SQL) if record["run"] != job.run_id]
    ended = await job.ended({record["run"] for record in found}) if job.ended is not None and found else ()
    return [LeftOver(**dict(record), ended=record["run"] in ended) for record in found]


async def drop_left_overs(job: Job, site: Job | None = None) -> int:
    """Drop all whose run has ended, before a run makes one more; how many. What cannot go is told, and stays."""
    dropped = 0
    for one in await left_over_databases(job, site):
        if one.ended and one.owned:
            try:
                dropped += "dropped" in await drop_left_over(job, one.object, site)
            except (ActionError, asyncpg.PostgresError) as error:
                log.warning("left_over_stays", database=one.datname, run=one.run, error=str(error))
    return dropped


async def drop_left_over(job: Job, planned: Object, site: Job | None = None) -> Figures:
    """Drop it where it is still the same one, and its run still is at its end."""
    async with upstairs((site or job).changes) as connection, alone(connection, job, "drop left-over"):
        found = [one for one in await left_over_databases(job, site) if one.object == planned]
        if not found:
            return {"skipped": "it is not there any more, or another one by now"}
        if not found[0].ended:
            raise ActionError(f"run {found[0].run} is not at its end: {found[0].datname} is its own")
        await _drop(connection, found[0])
    return {"dropped": found[0].datname, "bytes": found[0].bytes}


async def _drop(connection: Connection, one: LeftOver) -> None:
    await connection.execute("set statement_timeout = 0")
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {one.quoted} WITH (FORCE)")
    finally:
        await connection.execute("reset statement_timeout")
