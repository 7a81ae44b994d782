"""Where a migration takes place: the database, the rows of its version table, the application's scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from actions._action import Job
from actions._session import writable_databases
from fleet.environment import SchemaSettings
from fleet.errors import ActionError, ConfigError
from fleet.migrating import Application
from fleet.revisions import Position, RevisionGraph, position, read_graph, read_rows, read_scripts

# what must not run on the same database meanwhile: what else changes its schema, and what waits for its locks
CONFLICTS = frozenset(
    {
        *("migrate", "downgrade", "stamp", "restore", "recover", "backup", "vacuum", "analyze"),
        *("reindex", "rebuild_vector_index", "upgrade_vector_index", "drop_unused_index", "drop_invalid_index"),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """A database with its revision; `position` says where it stands among the scripts of `graph`."""

    datname: str
    graph: RevisionGraph
    position: Position
    server: int

    @property
    def at(self) -> str:
        """Its revision, for people."""
        return ", ".join(self.position.current) or "base"

    def title(self, revision: str) -> str:
        found = self.graph.revisions[revision].title
        return f"{revision} ({found})" if found else revision


def application_of(job: Job) -> Application:
    """Raises ActionError where it cannot be started from here."""
    application = Application(job.environment.migrations)
    try:
        application.directory  # noqa: B018 - asked whether it is there
    except ConfigError as error:
        raise ActionError(error.message, hint=error.hint) from error
    return application


async def read_place(job: Job, datname: str | None) -> Place:
    """Raises ActionError: no scripts, not one database with a version table, or rows that the scripts do not have."""
    place = await look(job, datname)
    if place.position.unknown:
        raise ActionError(
            f"{place.datname} is at {', '.join(place.position.unknown)}, which the scripts do not have",
            hint="are the scripts of another release? custode schema explain tells what is there in fact",
        )
    return place


async def look(job: Job, datname: str | None) -> Place:
    """The same where the rows may be unknown to the scripts."""
    settings = job.environment.migrations
    graph = await graph_of(settings)
    database = await _database(job, datname)
    async with job.connections.acquire(database) as connection:
        rows = await rows_of(connection, settings, database)
        server: int = connection.get_server_version().major
    return Place(database, graph, position(graph, rows), server)


async def graph_of(settings: SchemaSettings) -> RevisionGraph:
    """Raises ActionError where the scripts cannot be read."""
    if not settings.has_scripts:
        raise ActionError(
            "the application's scripts are not configured", hint="set migrations.scripts or migrations.git"
        )
    try:
        return read_graph(await read_scripts(settings))
    except ConfigError as error:
        raise ActionError(error.message, hint=error.hint) from error


async def rows_of(connection: asyncpg.Connection, settings: SchemaSettings, database: str) -> Sequence[str]:
    """The rows of the version table, none where there is none. Raises ActionError where they may not be read."""
    try:
        return await read_rows(connection, settings.version_table) or ()
    except asyncpg.InsufficientPrivilegeError as error:
        raise ActionError(f"{database}.{settings.version_table} may not be read") from error


async def _database(job: Job, datname: str | None) -> str:
    """The one that is meant: named, the only one, or the only one that Alembic has been in."""
    names = await writable_databases(job, datname)
    if len(names) == 1:
        return names[0]
    found = []
    for name in names:
        async with job.connections.acquire(name) as connection:
            if await read_rows(connection, job.environment.migrations.version_table) is not None:
                found.append(name)
    if len(found) != 1:
        raise ActionError(
            f"{job.environment.name} has {len(found)} databases with {job.environment.migrations.version_table}",
            hint=f"say which database: {', '.join(found or names)}",
        )
    return found[0]
