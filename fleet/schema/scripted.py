"""The schema that the application's scripts make, found out by running them on a server of ours."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from fleet.connections import Connection, Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment, SchemaSettings, TlsSettings
from fleet.errors import DaemonError
from fleet.migrating.application import Access, Application
from fleet.policy import Tier
from fleet.schema.catalogue import read_catalogue
from fleet.schema.objects import Catalogue
from fleet.secrets import Secrets, SecretText
from fleet.workspace import sweep, workspace

_PREFIX = "custode-scripts-"
_DATABASE = "scripted"
# nothing on it is worth an fsync; it lives for seconds
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class ScriptedDatabase:
    """An empty database on a server of ours, for the scripts to fill."""

    application: Application
    connections: Connections
    access: Access

    async def upgrade(self, revision: str) -> None:
        """Raises ProcessError where a migration fails; in its words."""
        await self.application.upgrade(revision, self.access)

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        return self.connections.acquire(_DATABASE)


async def scripted_catalogue(
    settings: SchemaSettings, revisions: Collection[str], *, extensions: Collection[str] = ()
) -> Catalogue:
    """What `revisions` of the scripts make of an empty database; takes some seconds. Raises as `scripted_database`.

    Raises:
        ProcessError: a migration fails; in its words.
    """
    async with scripted_database(settings, extensions=extensions) as database:
        for revision in sorted(revisions):
            await database.upgrade(revision)
        async with database.acquire() as connection:
            return await read_catalogue(connection)


@asynccontextmanager
async def scripted_database(
    settings: SchemaSettings, *, extensions: Collection[str] = ()
) -> AsyncIterator[ScriptedDatabase]:
    """A database to run the scripts in.

    `extensions` are made before, where the embedded server has them, as an administrator would have done.

    Raises:
        ConfigError: `settings` do not say how migrations are run.
        DaemonError: the server does not start.
    """
    application = Application(settings)
    secrets = Secrets(asyncio.get_running_loop().time)
    async with _server() as environment:
        connections = Connections(environment, secrets, read_only=False)
        try:
            async with connections.acquire() as connection:
                await connection.execute(f"create database {_DATABASE}")
            async with connections.acquire(_DATABASE) as connection:
                for extension in sorted(extensions):
                    with suppress(asyncpg.PostgresError):
                        name = await connection.fetchval("select quote_ident($1)", extension)
                        await connection.execute(f"create extension if not exists {name} cascade")
            access = await application.access(environment, secrets, _DATABASE, name="custode", settings={})
            yield ScriptedDatabase(application, connections, access)
        finally:
            await connections.close()


@asynccontextmanager
async def _server() -> AsyncIterator[Environment]:
    """A new, empty server; what a killed process left is taken away first."""
    await asyncio.to_thread(sweep, _PREFIX, _stop)
    with workspace(_PREFIX, mode=0o755) as folder:  # the server's own user must reach its data
        server = await asyncio.to_thread(EmbeddedServer.start, folder / "data", settings=_SETTINGS)
        try:
            yield Environment(
                name="scripts", tier=Tier.DEVELOPMENT, dsn=SecretText(server.dsn()), tls=TlsSettings(mode="disable")
            )
        finally:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(shutil.rmtree, folder / "data", ignore_errors=True)


def _stop(folder: Path) -> None:
    """A server that a killed process left is taken over, and so ended."""
    if (folder / "data" / "postmaster.pid").exists():
        with suppress(DaemonError):
            EmbeddedServer.start(folder / "data").stop()
