"""Four embedded servers, seeded at the same time: the fleet that the demonstration guards."""

from __future__ import annotations

import asyncio
import fcntl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from daemon import clock
from daemon.demo.loading import Order
from daemon.demo.seed import WATCHER, seed
from daemon.demo.sites import SITES
from fleet.embedded import EmbeddedServer
from fleet.errors import DaemonError

MIN_ROWS = 400  # below, development's tenth holds next to nothing
SETTINGS = {
    "shared_buffers": "64MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "40",
    "max_wal_size": "1GB",
    "synchronous_commit": "off",
}

Progress = Callable[[str, int, int], None]


def temporary_directory() -> Path:
    """A new directory for a demonstration that keeps nothing; under root the servers' user may enter it."""
    directory = Path(tempfile.mkdtemp(prefix="custode-demo-"))
    directory.chmod(0o755)
    return directory


@dataclass(slots=True)
class DemoFleet:
    """The running servers by environment name. `fresh` tells whether any of it was seeded in this run."""

    directory: Path
    fresh: bool = False
    _servers: dict[str, EmbeddedServer] = field(default_factory=dict)
    _lock: IO[str] | None = None

    @classmethod
    async def start(
        cls, directory: Path, rows: int, progress: Progress, *, now: Callable[[], float] = clock.now
    ) -> DemoFleet:
        """Start the servers below `directory` and make what is not there yet.

        `rows` are the knowledge chunks of production; `progress` is told environment, chunks done, chunks in all.

        Raises:
            DaemonError: too few rows, another demonstration uses the directory, or a server does not start.
        """
        if rows < MIN_ROWS:
            raise DaemonError(f"{rows} rows are too few for the demonstration", hint=f"at least {MIN_ROWS}")
        fleet = cls(directory)
        fleet._take_directory()
        try:
            await fleet._start_servers()
            await fleet._seed(Order(rows, now()), progress)
        except BaseException:
            await fleet.stop()
            raise
        return fleet

    @property
    def bin_dir(self) -> Path:
        """Where pg_dump and its like are, of the servers' version."""
        return next(iter(self._servers.values())).bin_dir

    def dsn(self, name: str, user: str = WATCHER) -> str:
        """URL of an environment's database, for the watching role unless told otherwise."""
        database = next(site.database for site in SITES if site.name == name)
        return self._servers[name].dsn(database, user)

    async def stop(self) -> None:
        """Stop every server. Calling twice is harmless."""
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in servers.values()))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _start_servers(self) -> None:
        starting = asyncio.gather(
            *(asyncio.to_thread(self._start_server, site.name) for site in SITES), return_exceptions=True
        )
        try:
            results = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # a thread cannot be cancelled: only when it is done can its server be stopped
            await starting
            raise
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _start_server(self, name: str) -> None:
        settings = SETTINGS | {"cluster_name": f"demo-{name}"}
        self._servers[name] = EmbeddedServer.start(self.directory / name, settings=settings)

    async def _seed(self, order: Order, progress: Progress) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                seeding = [
                    group.create_task(seed(site, self._servers[site.name], order, partial(progress, site.name)))
                    for site in SITES
                ]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        self.fresh = any(task.result() for task in seeding)

    def _take_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = (self.directory / ".lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise DaemonError(
                f"another demonstration runs in {self.directory}", hint="stop it, or choose another directory"
            ) from error
        self._lock = lock
