"""What a collector may use: the environment, read-only sessions in its databases, stores, the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg

from fleet.connections import Connection, Connections
from fleet.databases import DATABASES
from fleet.environment import Environment
from fleet.errors import ConnectError
from fleet.stores import Store

T = TypeVar("T")


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

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Records. They are sequences as `Family.rows` wants them, which asyncpg's stubs do not say."""
        records: list[Any] = await self.connection.fetch(sql, *args)
        return records


@dataclass(slots=True)
class Target:
    """One environment at one moment, for one run of one collector. `now` is in unix seconds.

    `reference` is the environment whose schema the others must match; None on itself, and where there is none.
    """

    environment: Environment
    connections: Connections
    now: float
    stores: Mapping[str, Store] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    reference: Target | None = None

    def gap(self, what: str, reason: str) -> None:
        """Tell that `what` cannot be seen (no right to it, or it is not there); a series, logged once, no failure."""
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
            number = version.major * 10000 + version.micro  # asyncpg calls the y of "x.y" micro since 10
            yield Session(database or "", connection, Server(number, recovery))

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """Records of a query about the whole server."""
        async with self.session() as session:
            return await session.fetch(sql, *args)

    async def databases(self) -> list[str]:
        """The configured databases, or all that accept us."""
        if self.environment.databases is not None:
            return list(self.environment.databases)
        names = []
        for name, accepts_us in await self.fetch(DATABASES):
            if accepts_us:
                names.append(name)
            else:
                self.gap(f"database {name}", "the role has no CONNECT privilege")
        return names

    async def fetch_each(self, sql: str, *args: Any) -> list[Any]:
        """Records of one query run in every database; let it select current_database() as label datname."""

        async def read(session: Session) -> list[Any]:
            return await session.fetch(sql, *args)

        return await self.each(read)

    async def each(self, read: Callable[[Session], Awaitable[list[T]]]) -> list[T]:
        """Run `read` in every database and join what it returns.

        A database dropped meanwhile is left out silently, unless the configuration names it; one that fails is
        recorded in `failures`. Raises ConnectError when the server itself cannot be reached.
        """
        names = await self.databases()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(name, read)) for name in names]
        return [record for task in tasks for record in task.result()]

    async def _read(self, name: str, read: Callable[[Session], Awaitable[list[T]]]) -> list[T]:
        try:
            async with self.session(name) as session:
                return await read(session)
        except asyncpg.InvalidCatalogNameError as error:
            if self.environment.databases is not None:
                self.failed(name, error)
        except (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            self.failed(name, error)
        return []
