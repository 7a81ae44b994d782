"""An environment's schema on a scratch server, without its rows: a place to try a migration on."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from actions._action import Job
from actions._migration_place import Place, rows_of
from actions._scratch import scratch
from fleet.backups.libpq import client_environment
from fleet.backups.scrub import scrub
from fleet.backups.session import LOCK_WAIT
from fleet.client_tools import find_tool
from fleet.errors import ActionError, ProcessError
from fleet.migrating import Access, Application
from fleet.process import run
from fleet.schema import Catalogue, read_catalogue

_TRACE = "custode_trace"
# every revision writes the version table: so each of its sessions is seen there
_WATCH = f"""
    create schema {_TRACE};
    create table {_TRACE}.sessions (application_name text, lock_timeout text);
    create function {_TRACE}.note() returns trigger language plpgsql as $$ begin
        insert into {_TRACE}.sessions
            values (current_setting('application_name'), current_setting('lock_timeout'));
        return null;
    end $$
"""  # noqa: S608 - joined from a constant
_ROLES = "select rolname::text from pg_catalog.pg_roles where rolname !~ '^pg_' order by 1"
_EXTENSIONS = "select extname::text from pg_catalog.pg_extension where extname <> 'plpgsql' order by 1"
_LOCK_TIMEOUT = {"lock_timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Copy:
    """A database on a scratch server, `site`."""

    job: Job
    site: Job
    database: str
    application: Application

    @property
    def label(self) -> str:
        """What its sessions are to call themselves."""
        return f"custode/{self.job.run_id}/{self.job.attempt}/alembic"

    async def access(self) -> Access:
        return await self.application.access(
            self.site.environment, self.site.secrets, self.database, name=self.label, settings=_LOCK_TIMEOUT
        )

    async def catalogue(self) -> Catalogue:
        async with self.site.connections.acquire(self.database) as connection:
            return await read_catalogue(connection)

    async def rows(self) -> Sequence[str]:
        async with self.site.connections.acquire(self.database) as connection:
            return await rows_of(connection, self.application.settings, self.database)

    async def execute(self, sql: str) -> None:
        async with self.site.changes.acquire(self.database) as connection:
            await connection.execute(sql)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[list[tuple[str, str]]]:
        """Notes name and lock_timeout of each session that writes the version table; filled when it is left."""
        schema, _, table = self.application.settings.version_table.rpartition(".")
        async with self.site.changes.acquire(self.database) as connection:
            made = """create table if not exists %1$I.%2$I
                (version_num varchar(32) not null constraint alembic_version_pkc primary key)"""
            trigger = f"""create trigger custode_trace after insert or update or delete on %1$I.%2$I
                for each statement execute function {_TRACE}.note()"""
            await connection.execute(_WATCH)
            for text in (made, trigger):
                sql = await connection.fetchval(
                    "select format($1, $2::text, $3::text)", text, schema or "public", table
                )
                await connection.execute(sql)
        seen: list[tuple[str, str]] = []
        try:
            yield seen
        finally:
            async with self.site.changes.acquire(self.database) as connection:
                rows = await connection.fetch(f"select distinct application_name, lock_timeout from {_TRACE}.sessions")  # noqa: S608
                seen += [(row["application_name"], row["lock_timeout"]) for row in rows]
                await connection.execute(f"set client_min_messages = warning; drop schema {_TRACE} cascade")


@asynccontextmanager
async def copied(job: Job, place: Place, application: Application) -> AsyncIterator[Copy]:
    """The schema of the environment as it is now, its roles (without login) and the rows of its version table.

    Raises:
        ActionError: it cannot be copied: an extension that the scratch server does not have, for one.
        DaemonError: the server does not start.
    """
    async with scratch(job) as site:
        copy = await _new(job, site, application, "rehearsal")
        with tempfile.TemporaryDirectory(prefix="custode-rehearsal-") as folder:
            file = Path(folder) / "schema.sql"
            try:
                await _dump(job, place.datname, file)
                await _load(site, copy.database, file)
            except ProcessError as error:
                raise ActionError(
                    f"the schema of {place.datname} cannot be copied to a scratch server: {error.message[:600]}",
                    hint="without a rehearsal it may run only where that is accepted: accept=rehearsal",
                ) from error
        await _write_rows(copy, place.position.current)
        yield copy


@asynccontextmanager
async def empty(job: Job, place: Place, application: Application, names: Sequence[str]) -> AsyncIterator[list[Copy]]:
    """Empty databases of these names on one scratch server, with the extensions of the environment."""
    async with job.connections.acquire(place.datname) as connection:
        extensions = [row[0] for row in await connection.fetch(_EXTENSIONS)]
    async with scratch(job) as site:
        copies = [await _new(job, site, application, name) for name in names]
        for copy in copies:
            for extension in extensions:
                await _create_extension(copy, extension)
        yield copies


async def _new(job: Job, site: Job, application: Application, name: str) -> Copy:
    async with job.connections.acquire() as connection:
        roles = [row[0] for row in await connection.fetch(_ROLES)]
    async with site.changes.acquire("postgres") as connection:
        there = {row[0] for row in await connection.fetch(_ROLES)}
        for role in roles:
            if role not in there:
                await connection.execute(await connection.fetchval("select format('create role %I', $1::text)", role))
        await connection.execute(f"create database {name}")
    return Copy(job, site, name, application)


async def _create_extension(copy: Copy, extension: str) -> None:
    """What the scratch server does not have, the scripts will ask for, or they do without."""
    async with copy.site.changes.acquire(copy.database) as connection:
        if await connection.fetchval("select exists (select from pg_available_extensions where name = $1)", extension):
            sql = await connection.fetchval("select format('create extension if not exists %I', $1::text)", extension)
            await connection.execute(sql)


async def _dump(job: Job, datname: str, file: Path) -> None:
    pg_dump = await find_tool("pg_dump", job.client_tools)
    label = f"custode/{job.run_id}/{job.attempt}"
    variables = await client_environment(job.environment, job.secrets, datname, application_name=label)
    command: list[str | Path] = [
        pg_dump.path,
        f"--lock-wait-timeout={LOCK_WAIT}",
        "--schema-only",
        "--no-owner",
        "--no-privileges",
        "--no-publications",
    ]
    await _run([*command, "--no-subscriptions", "--no-password", f"--file={file}"], variables)


async def _load(site: Job, datname: str, file: Path) -> None:
    psql = await find_tool("psql", site.client_tools)
    variables = await client_environment(site.environment, site.secrets, datname)
    await _run([psql.path, "-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f", file], variables)


async def _run(command: Sequence[str | Path], variables: Mapping[str, str]) -> None:
    try:
        await run(command, env=variables)
    except ProcessError as error:
        raise ProcessError(scrub(error.message, [variables.get("PGPASSWORD", "")]), hint=error.hint) from error


async def _write_rows(copy: Copy, rows: Sequence[str]) -> None:
    if not rows:
        return
    schema, _, table = copy.application.settings.version_table.rpartition(".")
    async with copy.site.changes.acquire(copy.database) as connection:
        sql = "select format('insert into %I.%I (version_num) select unnest($1::text[])', $1::text, $2::text)"
        await connection.execute(await connection.fetchval(sql, schema or "public", table), list(rows))
