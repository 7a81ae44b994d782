"""The state database of a daemon that was given none: a server of its own below the data directory."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import asyncpg
import structlog

from fleet.embedded import EmbeddedServer
from fleet.errors import DaemonError, StateAwayError, StateError

log = structlog.get_logger()

DATABASE = "custode"
SETTINGS = {
    "shared_buffers": "32MB",
    "max_connections": "50",
    "fsync": "on",
    "unix_socket_permissions": "0700",  # it trusts whoever gets through
    "cluster_name": "custode-state",
}
_HINT = "set state.url to a database of yours, or data_dir to a place where a server can run"


class StateServer:
    """At most one process in the machine starts it, those that follow share it, and the last one stops it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.path = data_dir / "state"
        self._server: EmbeddedServer | None = None

    @property
    def exists(self) -> bool:
        return (self.path / "PG_VERSION").exists()

    async def start(self) -> None:
        """Start it, or start it again where nobody listens any more.

        Raises:
            StateAwayError: it does not answer yet.
            StateError: it cannot be started.
        """
        if self._server is not None:
            # the wheel takes a zombie for a running server, and would wait a minute for its end
            (self.path / "postmaster.pid").unlink(missing_ok=True)
            await self.stop()
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            self._server = await asyncio.shield(starting)
        except asyncio.CancelledError:
            # a thread cannot be cancelled: only when it is done can its server be stopped
            with suppress(DaemonError):
                self._server = await starting
            raise
        log.info("state_database_embedded", path=str(self.path))
        await self._make_database(self._server.dsn())

    def dsn(self) -> str | None:
        return None if self._server is None else self._server.dsn(DATABASE)

    async def stop(self) -> None:
        """Let go of it. Calling twice is harmless."""
        server, self._server = self._server, None
        if server is not None:
            await asyncio.to_thread(server.stop)

    def _start(self) -> EmbeddedServer:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = self.data_dir.stat().st_mode
            if os.geteuid() == 0:
                # the server runs as a user of its own, who must get through
                self.data_dir.chmod(mode | 0o011)
            server = EmbeddedServer.start(self.path, settings=SETTINGS)
            if os.geteuid() == 0:
                self.data_dir.chmod(mode | 0o011)  # and no more than that, which the wheel allows
        except OSError as error:
            raise StateError(f"the data directory {self.data_dir} cannot be used: {error}", hint=_HINT) from error
        except DaemonError as error:
            if (self.path / "postmaster.pid").exists():
                raise StateAwayError(f"the embedded state database is still starting: {error.message}") from error
            raise StateError(
                f"the state database cannot be started: {error.message}", hint=error.hint or _HINT
            ) from error
        return server

    async def _make_database(self, dsn: str) -> None:
        try:
            session = await asyncpg.connect(dsn, timeout=10)
            try:
                if not await session.fetchval("select exists (select from pg_database where datname = $1)", DATABASE):
                    with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                        await session.execute(f"create database {DATABASE}")
            finally:
                await session.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StateAwayError(f"the embedded state database does not answer: {error}") from error
