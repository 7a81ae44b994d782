"""Sockets at which the server listens, and who is let in; with other certificates from one moment to the next."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import web

from daemon.web._connections import Connections, Counted, Place
from fleet.errors import DaemonError

log = structlog.get_logger()

_BACKLOG = 128
_HANDSHAKE_SECONDS = 10.0
_PAUSE_SECONDS = 1.0  # where no connection can be accepted, as all files are open


class Listener:
    """Accepts for a runner that is set up.

    `place` says where a connection comes from, for `connections` to bound; `refused` is told of who is turned away.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        connections: Connections,
        *,
        place: Callable[[socket.socket, Any], str | None],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._connections = connections
        self._place = place
        self._refused = refused
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.tls: ssl.SSLContext | None = None  # for whoever comes from now on

    async def open(self, host: str, port: int) -> None:
        """Raises DaemonError."""
        try:
            bound = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
            self._sockets = [one.dup() for one in bound.sockets]
            bound.close()
            for one in self._sockets:
                one.listen(_BACKLOG)
        except OSError as error:
            await self.close()
            raise DaemonError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hint="is another Custode running, or is the address of another machine?",
            ) from error
        for one in self._sockets:
            self.accept_from(one)

    def accept_from(self, listening: socket.socket) -> None:
        """Let in who connects to a socket that listens."""
        listening.setblocking(False)
        self._begin(self._accept(listening))

    async def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in self._sockets:
            one.close()

    @property
    def address(self) -> str:
        """The URL, with the real port."""
        host, port = self._sockets[0].getsockname()[:2]
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                if not isinstance(error, ConnectionError):  # which has ended while it waited
                    log.warning("no_connection_accepted", error=error.strerror, seconds=_PAUSE_SECONDS)
                    await asyncio.sleep(_PAUSE_SECONDS)
                await asyncio.sleep(0)
                continue
            place = self._connections.enter(self._place(accepted, address))
            if place is None:
                accepted.close()
                self._refused()
            else:
                self._begin(self._connect(accepted, place))
            await asyncio.sleep(0)  # many who come at once do not hold up who is in

    async def _connect(self, accepted: socket.socket, place: Place) -> None:
        factory, tls = self._runner.server, self.tls
        assert factory is not None  # noqa: S101 - the runner is set up
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Counted(factory(), place),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else _HANDSHAKE_SECONDS,
            )
        except (OSError, asyncio.CancelledError):  # gone already, or speaks no TLS that we do
            place.leave()
            accepted.close()

    def _begin(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
