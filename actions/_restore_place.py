"""The database that is restored into: made anew, marked as the run's own, never one that was there before.

It is made under a name that only this run gives, marked by a comment, and renamed: so whatever moment a process dies
in, the next one knows what is its own. What is done already is noted in a schema of its own, in the transaction that
did it; the schema goes once keys and triggers stand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from actions._action import Job
from actions._session import alone
from fleet.backups import DatabaseSnapshot
from fleet.connections import Connection, Connections
from fleet.errors import ActionError, ConnectError

SCHEMA = "custode_restore"
_MAKE_SCHEMA = f"""
    create schema {SCHEMA};
    create table {SCHEMA}.done (what text primary key)
"""
_CREATE = """
    select format('create database %I owner %I template template0 encoding %L lc_collate %L lc_ctype %L',
        $1::text, $2::text, $3::text, $4::text, $5::text)
"""
_CREATE_ANYHOW = "select format('create database %I owner %I template template0 encoding %L', $1::text, $2::text, $3)"
_MARKS = """
    select d.datname::text, shobj_description(d.oid, 'pg_database') as mark
    from pg_catalog.pg_database d where d.datname = any($1)
"""
_LOCALE_TROUBLE = (asyncpg.WrongObjectTypeError, asyncpg.InvalidParameterValueError)


@dataclass(frozen=True, slots=True)
class Place:
    """A database of the run on the server of `job.environment`, which need not be the environment of the backup."""

    job: Job
    database: str

    @property
    def mark(self) -> str:
        return mark_of(self.job)

    @property
    def _unfinished(self) -> str:
        return f"custode_new_{self.job.run_id}"[:63]

    async def create(self, snapshot: DatabaseSnapshot, *, any_locale: bool = False, closed: bool = False) -> None:
        """Make the database, empty, unless an earlier attempt did.

        With `any_locale`, a server that does not know the snapshot's locale gives its own. With `closed`, nobody but
        its owner may connect to it.

        Raises:
            ActionError: there is one of that name that is not ours, or the server refuses to make it.
        """
        async with upstairs(self.job.changes) as connection, alone(connection, self.job, "create database"):
            found = await marks(connection, self.database)
            if self.database in found:
                if found[self.database] == self.mark:
                    return
                raise ActionError(
                    f"there is a database {self.database!r} already: nothing is restored over it",
                    hint="name another one (into), or drop it yourself",
                )
            await _drop(connection, self._unfinished)
            await _create(connection, self._unfinished, snapshot, any_locale=any_locale)
            if closed:
                await _format_and_run(
                    connection, "select format('revoke all on database %I from public', $1::text)", self._unfinished
                )
            await _comment(connection, self._unfinished, self.mark)
        async with self.job.changes.acquire(self._unfinished) as connection:
            await connection.execute(_MAKE_SCHEMA)
            await connection.close()  # nobody may be in a database that is renamed
        async with upstairs(self.job.changes) as connection:
            await _format_and_run(
                connection,
                "select format('alter database %I rename to %I', $1::text, $2::text)",
                self._unfinished,
                self.database,
            )

    async def drop(self) -> bool:
        """Drop what the run made, and nothing else; whether there was anything."""
        async with upstairs(self.job.changes) as connection, alone(connection, self.job, "create database"):
            found = await marks(connection, self.database, self._unfinished)
            ours = [name for name, mark in found.items() if mark == self.mark or name == self._unfinished]
            for name in ours:
                await _drop(connection, name)
        return bool(ours)

    async def is_ours(self) -> bool:
        async with upstairs(self.job.connections) as connection:
            return (await marks(connection, self.database)).get(self.database) == self.mark

    async def done(self) -> frozenset[str] | None:
        """What earlier attempts have done; None where all is, up to keys and triggers."""
        async with self.job.changes.acquire(self.database) as connection:
            if await connection.fetchval("select to_regnamespace($1) is null", SCHEMA):
                return None
            return frozenset(row["what"] for row in await connection.fetch(f"select what from {SCHEMA}.done"))  # noqa: S608

    async def make_durable(self) -> None:
        """Commits did not wait for the disk: this one does, and with it all before it."""
        async with self.job.changes.acquire(self.database) as connection, connection.transaction():
            await connection.execute("set local synchronous_commit = on")
            await note(connection, "durable")

    async def forget_progress(self) -> None:
        async with self.job.changes.acquire(self.database) as connection:
            await connection.execute(f"drop schema if exists {SCHEMA} cascade")

    @asynccontextmanager
    async def session(self, settings: Sequence[str] = ()) -> AsyncIterator[Connection]:
        """A session that loads: no limits of time, commits that do not wait for the disk (each step ends durably)."""
        async with self.job.changes.acquire(self.database) as connection:
            await connection.execute(";".join([*_QUICK, *settings]))
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    await connection.execute("reset all")


_QUICK = (
    "set synchronous_commit = off",
    "set statement_timeout = 0",
    "set lock_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
)


def mark_of(job: Job) -> str:
    """The comment on a database that a run made."""
    return f"custode restore {job.run_id}"


async def note(connection: Connection, what: str) -> None:
    """In the transaction that does it."""
    await connection.execute(
        f"insert into {SCHEMA}.done values ($1) on conflict (what) do update set what = excluded.what",  # noqa: S608
        what,
    )


def note_sql(what: str) -> bytes:
    """The same for psql; `what` is a constant of ours."""
    return f"\nINSERT INTO {SCHEMA}.done VALUES ('{what}');\n".encode()


async def marks(connection: Connection, *names: str) -> dict[str, str | None]:
    """Those of the databases that exist, with the comments on them."""
    return {row["datname"]: row["mark"] for row in await connection.fetch(_MARKS, list(names))}


@asynccontextmanager
async def upstairs(connections: Connections) -> AsyncIterator[Connection]:
    """A connection to a database that is neither restored nor replaced: `postgres`, else the one of the DSN."""
    async with AsyncExitStack() as held:
        try:
            connection = await held.enter_async_context(connections.acquire("postgres"))
        except (asyncpg.InvalidCatalogNameError, ConnectError):
            connection = await held.enter_async_context(connections.acquire())
        yield connection


async def _create(connection: Connection, name: str, snapshot: DatabaseSnapshot, *, any_locale: bool) -> None:
    wanted = (name, snapshot.owner, snapshot.encoding)
    try:
        try:
            await _format_and_run(connection, _CREATE, *wanted, snapshot.collate, snapshot.ctype)
        except _LOCALE_TROUBLE:
            if not any_locale:
                raise
            await _format_and_run(connection, _CREATE_ANYHOW, *wanted)
    except _LOCALE_TROUBLE as error:
        raise ActionError(
            f"the server cannot make a database of the locale {snapshot.collate!r}: {error}",
            hint="install that locale on the machine of the server",
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise ActionError(
            f"the role may not make the database: {error}",
            hint=f"it needs CREATEDB, and to be a member of {snapshot.owner}",
        ) from error


async def _comment(connection: Connection, name: str, comment: str) -> None:
    await _format_and_run(
        connection, "select format('comment on database %I is %L', $1::text, $2::text)", name, comment
    )


async def _drop(connection: Connection, name: str) -> None:
    await _format_and_run(connection, "select format('drop database if exists %I with (force)', $1::text)", name)


async def _format_and_run(connection: Connection, query: str, *values: object) -> None:
    """Run the statement that the server makes of names and values."""
    await connection.execute(await connection.fetchval(query, *values))
