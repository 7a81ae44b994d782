"""The queue's one session with the state database: opened again whenever it breaks, and nobody above notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import structlog

from daemon.state import StateDatabase
from fleet.errors import StateError

if TYPE_CHECKING:
    from pgqueuer.ports.driver import NotifyCallback, TaskManagerPort

log = structlog.get_logger()

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
ERRORS = (StateError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_CHANGED = (
    '{{"channel": "{0}", "sent_at": "1970-01-01T00:00:00Z", "type": "table_changed_event", "operation": "update",'
    ' "table": "pgqueuer"}}'
)


class QueueSession:
    """What pgqueuer calls a driver. Its statements may all be repeated, so one that failed is tried until it succeeds.

    After `end` each is tried once.
    """

    def __init__(self, state: StateDatabase) -> None:
        self._state = state
        self._session: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._listeners: list[tuple[str, NotifyCallback]] = []
        self._ending = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return [dict(row) for row in await self._insist(lambda session: session.fetch(query, *args))]

    async def execute(self, query: str, *args: object) -> str:
        return await self._insist(lambda session: session.execute(query, *args))

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("select pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listeners.append((channel, callback))
        await self._insist(lambda session: session.add_listener(channel, _relay(callback)))

    def wake(self) -> None:
        """Let the queue look for work now."""
        for channel, callback in self._listeners:
            callback(_CHANGED.format(channel))

    async def wake_others(self) -> None:
        """Let every process look for work now."""
        for channel, _ in self._listeners:
            await self.notify(channel, _CHANGED.format(channel))

    def end(self) -> None:
        self._ending.set()

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(*ERRORS):
                await session.close(timeout=1)

    async def _insist(self, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        pause, told = FIRST_PAUSE, False
        while True:
            try:
                async with self._lock:
                    return await ask(await self._opened())
            except ERRORS as error:
                if self._session is not None:
                    self._session.terminate()  # asyncpg notices a moment later only that the server has ended it
                if self._ending.is_set():
                    raise
                if not told and not isinstance(error, StateError):
                    log.warning("queue_statement_failed", error=str(error))
                    told = True
                if self._state.away is None:
                    pause = min(2 * pause, LONGEST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):  # wait_for may lose a cancellation before Python 3.12
                    await self._ending.wait()

    async def _opened(self) -> asyncpg.Connection:
        if self._session is None or self._session.is_closed():
            session = await self._state.connect()
            session.add_termination_listener(lambda _: self.wake())
            self._session = session
            # that a job was picked or is done may be forgotten in a crash: then it is picked once more
            await session.execute("set synchronous_commit = off")
            for channel, callback in self._listeners:
                await session.add_listener(channel, _relay(callback))
            self.wake()  # what was told meanwhile nobody heard
        return self._session

    @property
    def shutdown(self) -> asyncio.Event:
        return self._ending

    @property
    def tm(self) -> TaskManagerPort:
        raise NotImplementedError  # of pgqueuer's other drivers

    async def __aenter__(self) -> QueueSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Left open: the last words follow, `close` is the owner's."""


def _relay(callback: NotifyCallback) -> Callable[[Any, int, str, Any], None]:
    return lambda _session, _pid, _channel, payload: callback(payload)
