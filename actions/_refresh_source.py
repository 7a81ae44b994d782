"""Where the rows of a refresh come from: the source as it is, or a backup of it on a scratch server of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from actions._action import Job
from actions._refresh_guard import elsewhere
from actions._restoration import Restoration
from actions._restore_indexes import Build
from actions._restore_load import Wanted
from actions._restore_place import Place
from actions._restore_source import SourceParameters, choose, reopen
from actions._scratch import scratch
from fleet.backups.libpq import client_environment, connection_parameters
from fleet.backups.session import Session, open_session
from fleet.connections import Connection
from fleet.data.scan import People, read_people
from fleet.data.schema import read_tables
from fleet.data.tables import Table
from fleet.errors import ActionError

_TOLD = 30
_REWRITTEN = """
    select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and c.relfilenode is distinct from pg_relation_filenode(c.oid) order by 1
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """One snapshot of the source: `session` reads it, `site` and `database` say where it is."""

    site: Job
    database: str
    session: Session
    tables: Sequence[Table]


async def choose_backup(site: Job, database: str, backup: str | None, store: str | None) -> Mapping[str, Any]:
    """The backup of the source to take the rows from, as a plan names it. Raises ActionError: there is none."""
    source = await choose(site, SourceParameters(database=database, backup=backup, store=store))
    return {"backup": source.manifest.id, "store": source.store_name, "taken": source.taken}


@asynccontextmanager
async def open_origin(job: Job, planned: Mapping[str, Any], readers: int) -> AsyncIterator[Origin]:
    """Take the snapshot, check every decision against what is in it, and keep its tables from being rewritten.

    Raises:
        ActionError: something is undecided, or a table was rewritten meanwhile.
        ConnectError: the source cannot be reached.
    """
    async with elsewhere(job, planned["source"]) as source, _restored(source, planned) as (site, database):
        label = f"custode/{job.run_id}/{job.attempt}"
        variables = await client_environment(site.environment, site.secrets, database, application_name=label)
        async with open_session(site.connections, database, connection_parameters(variables), readers) as session:
            tables = await read_tables(session.first)
            enforce_decisions(job, tables)
            await _lock(session.first, tables)
            yield Origin(site, database, session, tables)


async def read_people_of(site: Job, database: str, people: People) -> None:
    """Add everybody in a database to `people`."""
    async with site.connections.acquire(database) as connection:
        await read_people(connection, people)


async def people_of_backup(job: Job, planned: Mapping[str, Any]) -> People:
    """Everybody in the backup that the rows are of, which is restored once more; nobody where they are of no backup."""
    people = People()
    if planned["backup"] is not None:
        async with elsewhere(job, planned["source"]) as source, _restored(source, planned) as (site, database):
            await read_people_of(site, database, people)
    return people


def enforce_decisions(job: Job, tables: Sequence[Table]) -> None:
    """Raises ActionError with all that is undecided: nothing is copied then."""
    undecided = job.environment.policy.data.decisions.check_against(tables, job.environment.tier)
    if undecided:
        told = [f"- {one}" for one in undecided[:_TOLD]]
        more = [f"- and {len(undecided) - _TOLD} more"] if len(undecided) > _TOLD else []
        raise ActionError(
            "\n".join([f"{len(undecided)} things must be decided first:", *told, *more]),
            hint=f"custode data classify {job.environment.name} proposes what to write under policy.data.columns",
        )


async def _lock(connection: Connection, tables: Sequence[Table]) -> None:
    """Through an older snapshot, a table that was truncated would look empty."""
    for table in tables:
        await connection.execute(f"lock table {table.quoted} in access share mode")
    if rewritten := await connection.fetch(_REWRITTEN):
        raise ActionError(
            f"{rewritten[0][0]} was truncated or rewritten as the copy began",
            hint="the next try sees the table as it is then",
        )


@asynccontextmanager
async def _restored(source: Job, planned: Mapping[str, Any]) -> AsyncIterator[tuple[Job, str]]:
    """Where the rows are read: in the source itself, or in what a backup of it was restored to."""
    if planned["backup"] is None:
        yield source, planned["source_datname"]
        return
    snapshot = await reopen(source, {**planned["backup"], "datname": planned["source_datname"]})
    async with scratch(source) as site:
        place = Place(site, "refresh")
        build = Build(Wanted(workers=2))
        job = replace(source, data={})
        restoration = Restoration(job, place, snapshot, build, create_roles=True, any_locale=True)
        await restoration.load()
        await restoration.keys()  # unique and foreign keys say which masks fit
        yield site, place.database
