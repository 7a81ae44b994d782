"""Connections to one environment: few, kept open, read-only unless asked otherwise, by database."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from fleet.environment import Environment, TlsMode
from fleet.errors import ConnectError
from fleet.secrets import Secrets

CONNECT_SECONDS = 5.0
Connection = asyncpg.Connection
Record = asyncpg.Record

_REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


class Connections:
    """At most `environment.connections` connections, the least recently used closed first.

    Opening one costs 3 to 5 ms, so they are kept. A connection that comes back broken is forgotten.
    """

    def __init__(self, environment: Environment, secrets: Secrets, *, statement_seconds: float = 10.0) -> None:
        self._environment = environment
        self._secrets = secrets
        self._slots = asyncio.Semaphore(environment.connections)
        self._idle: list[tuple[str | None, Connection]] = []
        self._settings = {
            "application_name": "custode",
            "default_transaction_read_only": "on",
            "statement_timeout": str(int(statement_seconds * 1000)),
            "lock_timeout": "1000",
            "jit": "off",  # compiling costs more than any catalogue query here
        }

    @asynccontextmanager
    async def acquire(self, database: str | None = None) -> AsyncIterator[Connection]:
        """Lend a connection to `database` (None: the one of the DSN).

        Raises:
            ConnectError: the server cannot be reached or refuses us.
            asyncpg.InvalidCatalogNameError: there is no such database (any more).
        """
        async with self._slots:
            connection = await self._take(database)
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    self._idle.append((database, connection))

    async def close(self) -> None:
        """Close what is idle; connections in use close as they come back to a closed loop."""
        idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.terminate()

    async def _take(self, database: str | None) -> Connection:
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == database:
                connection = self._idle.pop(index)[1]
                if not connection.is_closed():
                    return connection
        if len(self._idle) >= self._environment.connections:
            self._idle.pop(0)[1].terminate()
        try:
            return await self._connect(database)
        except _REFUSED:
            # a rotated password: ask its source once more
            self._secrets.forget(self._environment.dsn)
        try:
            return await self._connect(database)
        except _REFUSED as error:
            raise ConnectError(
                f"{self._environment.name}: {error}", hint="are user, password and pg_hba.conf right?"
            ) from error

    async def _connect(self, database: str | None) -> Connection:
        name = self._environment.name
        dsn = plain_dsn(await self._secrets.fill(self._environment.dsn))
        try:
            return await asyncpg.connect(
                dsn,
                database=database,
                ssl=_tls(self._environment),
                timeout=CONNECT_SECONDS,
                server_settings=self._settings,
                statement_cache_size=200,
            )
        except (*_REFUSED, asyncpg.InvalidCatalogNameError):
            raise
        except TimeoutError as error:
            raise ConnectError(
                f"{name}: no answer within {CONNECT_SECONDS:g} s",
                hint="is the host right, and open in the firewall?",
            ) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise ConnectError(f"{name}: cannot connect: {error}") from error


def plain_dsn(dsn: str) -> str:
    """Turn SQLAlchemy's spelling (`postgresql+asyncpg://...?ssl=require`) into libpq's."""
    parts = urlsplit(dsn)
    query = [("sslmode" if key == "ssl" else key, value) for key, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(scheme=parts.scheme.partition("+")[0], query=urlencode(query)))


def _tls(environment: Environment) -> ssl.SSLContext | TlsMode:
    """What asyncpg takes: libpq's mode as a word, or a context where the mode checks certificates."""
    mode, tls = environment.tls_mode, environment.tls
    if mode == "disable":
        return "disable"
    if tls.ca_file is None and tls.cert_file is None and mode in {"allow", "prefer", "require"}:
        return mode
    context = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
    context.check_hostname = mode == "verify-full"
    if mode in {"allow", "prefer", "require"}:
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
