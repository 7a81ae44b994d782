"""Where the workers work: databases of their own for each trial, and the processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TypeVar

import asyncpg

from daemon.state import StateDatabase
from fleet.embedded import EmbeddedServer
from fleet.secrets import Secrets, SecretText
from tests.chaos.worker import Orders, main
from tests.integration.actions_kit import CASES, Ground

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
# imports take a second: they are done once, and each worker is a fork; the last ones the product imports late
_IMPORTS = [
    "tests.chaos.worker",
    "tests.chaos.member",
    "pgqueuer.adapters.drivers.asyncpg",
    "pgqueuer.adapters.persistence.queries",
    "pgqueuer.core.qm",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "anyio._backends._asyncio",
    *(f"actions.{name}" for name in CASES),
]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(_IMPORTS)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An environment in trouble, an empty state database, and what a worker needs to know of both.

    `admin` is a session of neither, so that no action ends it.
    """

    ground: Ground
    admin: asyncpg.Connection
    state: asyncpg.Connection
    orders: Orders

    @property
    def trace(self) -> list[str]:
        """The points that the workers have passed."""
        path = Path(self.orders.directory) / "trace"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def log(self) -> str:
        path = Path(self.orders.directory) / "log"
        return path.read_text() if path.exists() else ""


class Site:
    def __init__(self, server: EmbeddedServer, scratch: Path, state_template: str) -> None:
        self._server = server
        self._scratch = scratch
        self._template = state_template

    @asynccontextmanager
    async def trouble(self, action: str, *, approved: bool = False) -> AsyncIterator[Trouble]:
        """What the case of an action plants."""
        name = uuid.uuid4().hex[:12]
        directory = self._scratch / f"chaos-{name}"
        directory.mkdir()
        async with self.database(f"t_env_{name}") as dsn, self.state_database(f"t_state_{name}") as state_dsn:
            sql, admin, state = [await asyncpg.connect(url) for url in (dsn, self._server.dsn(), state_dsn)]
            ground = Ground(dsn, f"t_env_{name}", sql, directory / "store")
            try:
                said = await CASES[action].plant(ground)
                orders = Orders(state_dsn, dsn, ground.database, str(directory), action, said, approved)
                yield Trouble(ground, admin, state, orders)
            finally:
                await ground.close()
                for connection in (sql, admin, state):
                    await connection.close()

    def state_database(self, name: str) -> AbstractAsyncContextManager[str]:
        """A migrated one."""
        return self.database(name, self._template)

    @asynccontextmanager
    async def database(self, name: str, template: str = "template1") -> AsyncIterator[str]:
        """The URL of a new database."""
        admin = await asyncpg.connect(self._server.dsn())
        await admin.execute(f"create database {name} template {template}")
        try:
            yield self._server.dsn(name)
        finally:
            await admin.execute(f"drop database if exists {name} with (force)")  # an action may have lost it
            await admin.close()


def start(target: Callable[[T], None], orders: T) -> ForkServerProcess:
    process = _PROCESSES.Process(target=target, args=(orders,), daemon=True)
    process.start()
    return process


async def run(orders: Orders) -> int | None:
    """How a worker ended, as a negative signal or its status; None where it had to be ended."""
    process = start(main, orders)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ended(process)
    except TimeoutError:
        return None
    finally:
        process.kill()
        process.join()
    return process.exitcode


async def ended(process: ForkServerProcess) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(process.sentinel)


async def make_template(server: EmbeddedServer, name: str, scratch: Path) -> None:
    """A migrated state database, to make others from."""
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f"create database {name}")
    await admin.close()
    state = StateDatabase(SecretText(server.dsn(name)), scratch, Secrets(time.monotonic))
    await state.open()
    assert state.away is None
    await state.close()
