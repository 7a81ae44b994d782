"""What a collector may use: the environment, read-only sessions in its databases, stores, the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from fleet.connections import Connection, Connections, Record
from fleet.environment import Environment
from fleet.errors import ConnectError
from fleet.stores import Store

_DATABASES = """
    select datname from pg_catalog.pg_database
    where datallowconn and not datistemplate and has_database_privilege(oid, 'connect')
    order by datname
"""


@dataclass(frozen=True, slots=True)
class Server:
    """What decides which SQL can be used."""

    version: int  # as server_version_num: 180006
    in_recovery: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A read-only session in one database."""

    database: str
    connection: Connection
    server: Server

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        records: list[Record] = await self.connection.fetch(sql, *args)
        return records


@dataclass(slots=True)
class Target:
    """One environment at one moment, for one run of one collector. `now` is in unix seconds."""

    environment: Environment
    connections: Connections
    now: float
    stores: Mapping[str, Store] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)

    def gap(self, what: str, reason: str) -> None:
        """Tell that the role may not see `what`; shown as a series and logged once, no failure."""
        self.gaps[what] = reason

    def failed(self, what: str, error: Exception) -> None:
        """Tell that a part could not be read: its samples are missing, the rest counts."""
        self.failures[what] = error

    @asynccontextmanager
    async def session(self, database: str | None = None) -> AsyncIterator[Session]:
        """A session in `database` (None: the DSN's). Raises ConnectError, asyncpg.InvalidCatalogNameError."""
        async with self.connections.acquire(database) as connection:
            version = connection.get_server_version()
            recovery = connection.get_settings().in_hot_standby == "on" if version >= (14,) else None
            if recovery is None:
                recovery = await connection.fetchval("select pg_is_in_recovery()")
            number = version.major * 10000 + version.minor
            yield Session(database or "", connection, Server(number, recovery))

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """Records of a query about the whole server."""
        async with self.session() as session:
            return await session.fetch(sql, *args)

    async def databases(self) -> list[str]:
        """The configured databases, or all that accept us."""
        if self.environment.databases is not None:
            return list(self.environment.databases)
        return [record[0] for record in await self.fetch(_DATABASES)]

    async def fetch_each(self, sql: str, *args: Any) -> list[Record]:
        """Records of one query run in every database; let it select current_database() as label datname."""

        async def read(session: Session) -> list[Record]:
            return await session.fetch(sql, *args)

        return await self.each(read)

    async def each(self, read: Callable[[Session], Awaitable[list[Record]]]) -> list[Any]:
        """Run `read` in every database and join what it returns.

        A database dropped meanwhile is left out silently, unless the configuration names it; one that fails is
        recorded in `failures`. Raises ConnectError when the server itself cannot be reached.
        """
        names = await self.databases()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(name, read)) for name in names]
        return [record for task in tasks for record in task.result()]

    async def _read(self, name: str, read: Callable[[Session], Awaitable[list[Record]]]) -> list[Record]:
        try:
            async with self.session(name) as session:
                return await read(session)
        except asyncpg.InvalidCatalogNameError as error:
            if self.environment.databases is not None:
                self.failed(name, error)
        except (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self.failed(name, error)
        return []
