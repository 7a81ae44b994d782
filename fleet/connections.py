"""Connections to one environment: few, kept open, read-only unless asked otherwise, by database."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

from fleet.dsn import first_address, plain_dsn
from fleet.environment import TLS_MODES, Environment, TlsMode
from fleet.errors import ConnectError
from fleet.secrets import Secrets

CONNECT_SECONDS = 5.0
# how long to wait for a connection that is lent before closing another database's: opening takes 3 to 5 ms, and the
# first statement in a new session ten times as long as the next
PATIENCE_SECONDS = 0.05
END_SECONDS = 1.0  # for the server to cancel a statement and say good-bye, before the socket is closed all the same
Connection = asyncpg.Connection
Record = asyncpg.Record

_REFUSED = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)


async def _anybody() -> None:
    return


class Connections:
    """At most `environment.connections` connections, kept open until another database needs room.

    The least recently used goes first. A connection that comes back broken is forgotten; one whose user was cancelled
    or timed out, and one that is in a transaction, is ended. `check` is asked of every connection once it is open,
    before it is lent; where it raises, nobody gets the connection.
    """

    def __init__(
        self,
        environment: Environment,
        secrets: Secrets,
        *,
        statement_seconds: float = 10.0,
        read_only: bool = True,
        application_name: str = "custode",
        check: Callable[[], Awaitable[None]] = _anybody,
    ) -> None:
        self.environment = environment
        self._secrets = secrets
        self._check = check
        self._slots = asyncio.Semaphore(environment.connections)
        self._home = ""  # the database of the DSN, known once we were there
        self._idle: list[tuple[str, Connection]] = []
        self._lent: list[str] = []
        self._busy = 0  # slots taken, by connections lent, opened or waited for
        self._returned = asyncio.Event()
        self._settings = {
            "application_name": application_name,
            "default_transaction_read_only": "on" if read_only else "off",
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
            asyncpg.ConnectionDoesNotExistError: the server has ended the session meanwhile.
        """
        async with self._slots:
            self._busy += 1
            try:
                name, connection = await self._take(database)
                self._lent.append(name)
                try:
                    yield connection
                except asyncpg.InternalClientError as error:
                    # what it says of a session that the server has ended, until the socket is seen to be closed
                    connection.terminate()
                    raise asyncpg.ConnectionDoesNotExistError("the session was ended") from error
                except (asyncio.CancelledError, TimeoutError):
                    # the server may do what was broken off, and say so later: a BEGIN, a lock of the session
                    await _end(connection)
                    raise
                finally:
                    self._lent.remove(name)
                    if _is_usable(connection):
                        self._idle.append((name, connection))
                    self._returned.set()
            finally:
                self._busy -= 1

    async def address(self) -> tuple[str, int] | None:
        """Host and TCP port of the first server that the DSN leads to; None where that is a Unix socket.

        Raises:
            SecretError: the DSN cannot be resolved.
            ValueError: it is no valid URL.
        """
        return first_address(await self._secrets.fill(self.environment.dsn))

    async def close(self) -> None:
        """Close what is idle."""
        idle, self._idle = self._idle, []
        for _, connection in idle:
            await _end(connection)

    async def _take(self, database: str | None) -> tuple[str, Connection]:
        kept = self._kept(database)
        if kept is None and self._full() and (database or self._home) in self._lent:
            kept = await self._wait(database)
        if kept is not None:
            return kept
        if self._full():
            await _end(self._idle.pop(0)[1])
        connection = await self._open(database)
        try:
            await self._check()
        except BaseException:
            connection.terminate()
            raise
        return database or self._home, connection

    def _full(self) -> bool:
        return bool(self._idle) and len(self._idle) + self._busy > self.environment.connections

    async def _wait(self, database: str | None) -> tuple[str, Connection] | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (kept := self._kept(database)) is None:
                    self._returned.clear()
                    await self._returned.wait()
                return kept
        return None

    def _kept(self, database: str | None) -> tuple[str, Connection] | None:
        """Take an idle connection, the last used first."""
        name = database or self._home
        for index in range(len(self._idle) - 1, -1, -1):
            if self._idle[index][0] == name:
                kept = self._idle.pop(index)
                if _is_usable(kept[1]):
                    return kept
        return None

    async def _open(self, database: str | None) -> Connection:
        try:
            return await self._connect(database)
        except _REFUSED:
            # a rotated password: ask its source once more
            self._secrets.forget(self.environment.dsn)
        try:
            return await self._connect(database)
        except _REFUSED as error:
            raise ConnectError(
                f"{self.environment.name}: {error}", hint="are user, password and pg_hba.conf right?"
            ) from error

    async def _connect(self, database: str | None) -> Connection:
        name = self.environment.name
        try:
            dsn = plain_dsn(await self._secrets.fill(self.environment.dsn))
            tls = _tls(self.environment, tls_mode(self.environment, dsn))
            connection = await asyncpg.connect(
                dsn,
                database=database,
                ssl=tls,
                timeout=CONNECT_SECONDS,
                server_settings=self._settings,
                statement_cache_size=200,
                max_cached_statement_lifetime=0,  # the collectors' statements are few and for ever
            )
            if database is None:
                self._home = await _database(connection)
        except (*_REFUSED, asyncpg.InvalidCatalogNameError):
            raise
        except TimeoutError as error:
            raise ConnectError(
                f"{name}: no answer within {CONNECT_SECONDS:g} s",
                hint="is the host right, and open in the firewall?",
            ) from error
        except (OSError, asyncpg.PostgresError) as error:  # before ValueError, which a bad certificate is as well
            raise ConnectError(f"{name}: cannot connect: {error}") from error
        except (ValueError, ClientConfigurationError) as error:
            # its text may quote a part of the URL, and with it of the password
            raise ConnectError(
                f"{name}: the database URL cannot be used ({type(error).__name__})",
                hint="is it postgresql://user:password@host/database, with what is special percent-encoded (@ is %40)?",
            ) from None
        except asyncpg.InterfaceError as error:
            raise ConnectError(f"{name}: cannot connect: {error}") from error
        return connection


async def _end(connection: Connection) -> None:
    """Cancel its statement on the server, too, which does not look at the socket meanwhile; then close it."""
    with suppress(OSError):  # asyncpg has closed the socket then
        await connection.close(timeout=END_SECONDS)


def _is_usable(connection: Connection) -> bool:
    """Whether it is open and in no transaction; one that is in a transaction is ended."""
    if connection.is_closed():
        return False
    if connection.is_in_transaction():
        connection.terminate()
        return False
    return True


async def _database(connection: Connection) -> str:
    try:
        return str(await connection.fetchval("select current_database()", timeout=CONNECT_SECONDS))
    except BaseException:
        connection.terminate()
        raise


def tls_mode(environment: Environment, dsn: str) -> TlsMode:
    """The mode of `tls:` in the configuration; where it says none, the URL's, made as strict as the policy asks.

    Raises:
        ValueError: the URL asks for a mode that does not exist.
    """
    if environment.tls.mode is not None:
        return environment.tls.mode
    asked = dict(parse_qsl(urlsplit(dsn).query)).get("sslmode", "prefer")
    least: TlsMode = "require" if environment.policy.tls.required else "disable"
    return TLS_MODES[max(TLS_MODES.index(asked), TLS_MODES.index(least))]


def _tls(environment: Environment, mode: TlsMode) -> ssl.SSLContext | TlsMode:
    """What asyncpg takes: libpq's mode as a word, or a context where the mode checks certificates."""
    tls = environment.tls
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
