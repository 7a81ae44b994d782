"""A server of our own that lives as long as a test: nothing on it is worth an fsync, and it is gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from actions._action import Job
from fleet.connections import Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment, TlsSettings
from fleet.errors import DaemonError
from fleet.secrets import SecretText
from fleet.workspace import sweep, workspace

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
    await asyncio.to_thread(sweep, _PREFIX, _stop)
    with workspace(f"{_PREFIX}{job.run_id}-", mode=0o755) as folder:  # the server's own user must reach its data
        server = await asyncio.to_thread(EmbeddedServer.start, folder / "data", settings=_SETTINGS)
        try:
            site = _site(job, server)
            try:
                yield site
            finally:
                await site.changes.close()
                await site.connections.close()
        finally:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(shutil.rmtree, folder / "data", ignore_errors=True)  # it may be large


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


def _stop(folder: Path) -> None:
    """A server that a killed process left is taken over, and so ended."""
    if (folder / "data" / "postmaster.pid").exists():
        with suppress(DaemonError):
            EmbeddedServer.start(folder / "data").stop()
