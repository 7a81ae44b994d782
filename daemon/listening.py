"""Hears `NOTIFY custode` in the watched databases: whoever has just changed much lets it be looked at at once.

The payload names collectors, and nothing else is taken from it: `NOTIFY custode, 'vectors'`, or several with commas
between them; empty, it means those that an import concerns. Custode's session listens in the database of the DSN, or in
those that are configured. A standby takes no LISTEN: there it is tried again, for it may become a primary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import asyncpg
import structlog

from fleet.connections import Connection, Connections
from fleet.environment import Environment
from fleet.errors import CustodeError
from fleet.secrets import Secrets

log = structlog.get_logger()

CHANNEL = "custode"
IMPORTED = ("vectors", "tables")
PAUSE_SECONDS = 2.0  # between two looks, however often it is asked for
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
ALIVE_SECONDS = 30.0  # how often a silent session is asked whether it is still there
_LOST = (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

Reread = Callable[[str, Sequence[str]], Awaitable[None]]


class Listening:
    """`reread` runs collectors of an environment and evaluates what they feed; `known` are those that there are."""

    def __init__(self, secrets: Secrets, known: Collection[str], reread: Reread) -> None:
        self._secrets = secrets
        self._known = frozenset(known)
        self._reread = reread
        self._ears: dict[str, tuple[Environment, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin; the tasks belong to `group`. Where to listen is told by `apply`."""
        self._group = group

    async def stop(self) -> None:
        await self._close(list(self._ears))
        self._group = None

    async def apply(self, environments: Mapping[str, Environment]) -> None:
        """Listen in these environments from now on; what did not change goes on undisturbed."""
        await self._close(
            [name for name, (environment, _) in self._ears.items() if environments.get(name) != environment]
        )
        if self._group is None:
            return
        for name in environments.keys() - self._ears.keys():
            ear = _Ear(environments[name], self._secrets, self._known, self._reread)
            self._ears[name] = environments[name], self._group.create_task(ear.run(), name=f"listening to {name}")

    async def _close(self, names: Sequence[str]) -> None:
        tasks = [self._ears.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Ear:
    """Listens in one environment."""

    def __init__(self, environment: Environment, secrets: Secrets, known: frozenset[str], reread: Reread) -> None:
        self._environment = environment
        self._secrets = secrets
        self._known = known
        self._reread = reread
        self._wanted: set[str] = set()
        self._asked = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            for database in self._environment.databases or (None,):
                group.create_task(self._listen(database))

    async def _look(self) -> None:
        """Twice: what a session has done counts up to a second after its commit, which is when it is heard."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted, self._wanted = sorted(self._wanted), set()
            log.info("heard", environment=self._environment.name, collectors=wanted)
            for _ in range(2):
                with suppress(CustodeError):  # it is not watched any more, or not yet
                    await self._reread(self._environment.name, wanted)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _listen(self, database: str | None) -> None:
        """As long as the task lives, whatever becomes of the session."""
        wait, told = FIRST_RETRY, False
        while True:
            connections = Connections(self._environment, self._secrets, application_name="custode-listen")
            try:
                async with connections.acquire(database) as connection:
                    await connection.add_listener(CHANNEL, self._hear)
                    wait, told = FIRST_RETRY, False
                    await _until_lost(connection)
            except _LOST as error:
                if not told:
                    log.info("cannot_listen", environment=self._environment.name, error=str(error))
                told = True
            finally:
                await connections.close()
            await asyncio.sleep(wait)
            wait = min(2 * wait, LAST_RETRY)

    def _hear(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        names = [name.strip() for name in str(payload).split(",") if name.strip()]
        wanted = self._known.intersection(names or IMPORTED)
        if wanted:
            self._wanted |= wanted
            self._asked.set()


async def _until_lost(connection: Connection) -> None:
    """Raises what says that the session has ended, TimeoutError where nobody answers any more."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    while not lost.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(ALIVE_SECONDS):
                await lost.wait()
        await connection.execute("select 1", timeout=ALIVE_SECONDS)
