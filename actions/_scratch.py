"""A server of our own that lives as long as a test: nothing on it is worth an fsync, and it is gone afterwards."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from actions._action import Job
from fleet.connections import Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment, TlsSettings
from fleet.errors import DaemonError
from fleet.secrets import SecretText

_PREFIX = "custode-scratch-"
_STATEMENT_SECONDS = 43200.0
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
    "shared_buffers": "256MB",
    "timezone": "UTC",
}


@asynccontextmanager
async def scratch(job: Job) -> AsyncIterator[Job]:
    """The same run on a new, empty server of ours; its files are removed at the end.

    What a killed daemon left, its server too, is taken away first.

    Raises:
        DaemonError: the server does not start.
    """
    await asyncio.to_thread(_sweep)
    folder = Path(tempfile.gettempdir()) / f"{_PREFIX}{job.run_id}-{os.getpid()}"
    with _held(folder):
        server: EmbeddedServer | None = None
        try:
            server = await asyncio.to_thread(EmbeddedServer.start, folder / "data", settings=_SETTINGS)
            site = _site(job, server)
            try:
                yield site
            finally:
                await site.changes.close()
                await site.connections.close()
        finally:
            if server is not None:
                await asyncio.to_thread(server.stop)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _site(job: Job, server: EmbeddedServer) -> Job:
    environment = Environment(
        name=job.environment.name,
        tier=job.environment.tier,
        dsn=SecretText(server.dsn()),
        tls=TlsSettings(mode="disable"),
        policy=job.environment.policy,
    )
    changes = Connections(
        environment,
        job.secrets,
        statement_seconds=_STATEMENT_SECONDS,
        read_only=False,
        application_name=f"custode/{job.run_id}/{job.attempt}",
    )
    connections = Connections(environment, job.secrets)
    return replace(job, environment=environment, connections=connections, changes=changes)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make the folder, and show that a living process has it."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.chmod(0o755)  # the server's own user must reach its data
    with (folder / "held").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError, DaemonError), (folder / "held").open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "data" / "postmaster.pid").exists():
                EmbeddedServer.start(folder / "data").stop()  # taken over, and so ended
            shutil.rmtree(folder, ignore_errors=True)
