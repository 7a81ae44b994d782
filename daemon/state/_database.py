"""The state database: transactions on it, and whether it is away."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import asyncpg
import structlog
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from daemon.state._migrations import Revision, migrate, read_revision
from daemon.state._server import StateServer
from daemon.state._sessions import DATABASE_ERRORS, REFUSED, open_session, plain, says_away, says_busy
from fleet.errors import SecretError, StateAwayError, StateError, StateRefusedError
from fleet.secrets import Secrets, SecretText

log = structlog.get_logger()

POOL_SIZE = 5
PROBE_SECONDS = 5.0  # between two looks at a server that nobody complains of
ANSWER_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
_HINT = "nothing is lost meanwhile; custode state check tells more"


class StateDatabase:
    """PostgreSQL at `url`, or without one a server below `data_dir` (state/), shared with other processes there.

    `open` before anything else, `serve` in a task beside, `close` at the end. Every session is in the schema of ours.
    """

    def __init__(self, url: SecretText | None, data_dir: Path, secrets: Secrets) -> None:
        self._url = url
        self._secrets = secrets
        self._server = StateServer(data_dir) if url is None else None
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            # asyncpg reads the URL itself: SQLAlchemy's reading knows fewer of libpq's options
            async_creator=lambda **_: self._session(),
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=10,
        )
        event.listen(self._engine.sync_engine, "checkout", self._refuse_old)
        # how often it had been lost when they were opened
        self._sessions: weakref.WeakKeyDictionary[asyncpg.Connection, int] = weakref.WeakKeyDictionary()
        self._losses = 0
        self._watched: asyncpg.Connection | None = None
        self._away: str | None = "the state database is not open"
        self._here = asyncio.Event()
        self._lost = asyncio.Event()  # somebody saw a connection break

    @property
    def away(self) -> str | None:
        """Why it cannot be used now; None when it can."""
        return self._away

    async def open(self) -> None:
        """Reach or start it, and migrate it. One that cannot be reached is `away` afterwards; `serve` goes on trying.

        Raises:
            StateError: it is newer than this Custode, may not be migrated, its URL is none, or the embedded server
                does not start.
        """
        try:
            await self._reach()
        except StateAwayError as error:
            self._lose(error.message)

    async def serve(self) -> None:
        """Until cancelled: notice when it is away, and bring it back, the embedded server too."""
        pause = 0.0
        while True:
            if self._away is None:
                if await self._stays():
                    pause = 0.0
                continue
            await asyncio.sleep(pause)
            pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            try:
                await self._reach()
            except StateError as error:
                self._lose(error.message)

    @asynccontextmanager
    async def begin(self, *, durable: bool = True) -> AsyncIterator[AsyncConnection]:
        """One transaction; committed at the end, rolled back where an error leaves it.

        Not `durable`, its commit does not wait for the disk: a crash of the server may lose it, but nothing that was
        committed before something durable is lost where that is kept.

        Raises:
            StateAwayError: the database is away, or went away meanwhile: then it is open whether a commit was done.
            StateRefusedError: it is there, and a statement is wrong to it.
        """
        self._refuse_away()
        task = asyncio.current_task()
        cancelled = task.cancelling() if task else 0
        async with AsyncExitStack() as held:
            connection = await self._lend(held)
            session = await _driver(connection)
            try:
                async with connection.begin():
                    if not durable:
                        await connection.exec_driver_sql("set local synchronous_commit = off")
                    yield connection
            except DATABASE_ERRORS as error:
                if task and task.cancelling() > cancelled:  # what breaks in the rollback hides the cancellation
                    await connection.invalidate()
                    raise asyncio.CancelledError from error
                if not session.is_closed() and says_busy(error):
                    raise StateAwayError(f"the state database is busy: {plain(error)}", hint=_HINT) from error
                if not session.is_closed() and not says_away(error):
                    if isinstance(error, (DBAPIError, asyncpg.PostgresError)):
                        raise StateRefusedError(f"the state database refuses it: {plain(error)}") from error
                    raise
                await connection.invalidate()
                self._lose(f"the connection to the state database broke: {plain(error)}")
                raise StateAwayError(str(self._away), hint=_HINT) from error

    async def _lend(self, held: AsyncExitStack) -> AsyncConnection:
        try:
            return await held.enter_async_context(self._engine.connect())
        except StateAwayError as error:
            self._lose(error.message)
            raise
        except PoolTimeoutError as error:
            raise StateAwayError("all sessions with the state database are in use", hint=_HINT) from error
        except DATABASE_ERRORS as error:
            self._lose(f"no session with the state database can be opened: {plain(error)}")
            raise StateAwayError(str(self._away), hint=_HINT) from error

    async def connect(self) -> asyncpg.Connection:
        """A session of the caller's own, who closes it. Raises StateAwayError."""
        self._refuse_away()
        return await self._session()

    async def returned(self) -> None:
        """Wait until it is there."""
        await self._here.wait()

    async def revision(self) -> Revision:
        """Look, and change nothing. The embedded server is started for it, but not made.

        Raises:
            StateError: it cannot be asked.
        """
        if self._server is not None and not self._server.exists:
            return Revision(None)
        session = await self._watch()
        async with self._answering():
            return await read_revision(session)

    async def close(self) -> None:
        """Close what is idle, and stop the embedded server if nobody else in the machine uses it."""
        self._away = "the state database is closed"
        self._here.clear()
        watched, self._watched = self._watched, None
        if watched is not None:
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await watched.close(timeout=1)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._engine.dispose()
        except TimeoutError:  # a server that is frozen says no goodbye
            for session in list(self._sessions):
                session.terminate()
        if self._server is not None:
            await self._server.stop()

    async def _reach(self) -> None:
        session = await self._watch()
        async with self._answering():
            if await session.fetchval("select pg_is_in_recovery()"):
                raise StateAwayError("the state database is a standby")
            revision = await read_revision(session)
        revision.refuse_newer()
        if not revision.up_to_date:
            await migrate(await self._dsn())
        if self._lost.is_set():
            log.info("state_database_back")
        self._lost.clear()
        self._away = None
        self._here.set()

    async def _stays(self) -> bool:
        """Whether it was there for PROBE_SECONDS, and still answers."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                await self._lost.wait()
        if self._away is not None:
            return False
        if self._watched is None or self._watched.is_closed():
            self._lose("the connection to the state database broke")
            return False
        try:
            async with self._answering():
                await self._watched.execute("select 1")
        except StateError as error:
            self._lose(error.message)
            return False
        return True

    async def _watch(self) -> asyncpg.Connection:
        """The session that notices at once when the server goes; the embedded server is started if need be."""
        if self._watched is not None and not self._watched.is_closed():
            return self._watched
        if self._server is not None and self._server.dsn() is None:
            await self._server.start()
        try:
            session = await self._session()
        except StateAwayError as error:
            if self._server is None or not isinstance(error.__cause__, ConnectionError | FileNotFoundError):
                raise
            await self._server.start()
            session = await self._session()
        session.add_termination_listener(lambda _: self._lost.set())
        self._watched = session
        return session

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """What goes wrong between a question and its answer, as an error of ours."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                yield
        except TimeoutError:
            # whoever waits for an answer on another connection would wait as well
            for session in list(self._sessions):
                session.terminate()
            raise StateAwayError(f"the state database does not answer within {ANSWER_SECONDS:g} s") from None
        except DATABASE_ERRORS as error:
            if isinstance(error, asyncpg.PostgresError) and not says_away(error):
                raise StateError(f"the state database cannot be used: {plain(error)}") from error
            raise StateAwayError(f"the state database does not answer: {plain(error)}") from error

    async def _session(self) -> asyncpg.Connection:
        try:
            session = await open_session(await self._dsn())
        except StateAwayError as error:
            if self._url is None or not isinstance(error.__cause__, REFUSED):
                raise
            self._secrets.forget(self._url)  # a rotated password: ask its source once more
            session = await open_session(await self._dsn())
        self._sessions[session] = self._losses
        return session

    async def _dsn(self) -> str:
        if self._url is not None:
            try:
                return await self._secrets.fill(self._url)
            except SecretError as error:
                raise StateAwayError(f"state.url: {error.message}", hint=error.hint) from error
        dsn = self._server.dsn() if self._server is not None else None
        if dsn is None:
            raise StateAwayError("the embedded state database does not run")
        return dsn

    def _refuse_away(self) -> None:
        if self._away is not None:
            raise StateAwayError(self._away, hint=_HINT)

    def _lose(self, reason: str) -> None:
        if reason != self._away:
            log.warning("state_database_away", reason=reason)
        if self._away is None:
            self._losses += 1
        self._away = reason
        self._here.clear()
        self._lost.set()

    def _refuse_old(self, pooled: Any, _record: object, _proxy: object) -> None:
        """Let the pool open another connection where one may have broken while it was idle.

        What the server has ended is not closed before its socket is seen to be, so nothing from before a loss is used.
        """
        session = pooled.driver_connection
        if session.is_closed() or self._sessions.get(session) != self._losses:
            session.terminate()
            raise DisconnectionError


async def raw(connection: AsyncConnection) -> asyncpg.Connection:
    """The asyncpg session of a transaction, for what SQLAlchemy has no words for; what it does is part of it."""
    session = await _driver(connection)
    if not session.is_in_transaction():
        await connection.exec_driver_sql("select 1")  # SQLAlchemy begins with the first statement only
    return session


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    return cast("asyncpg.Connection", (await connection.get_raw_connection()).driver_connection)
