"""The aiohttp application and its listening sockets."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.log import server_logger

from daemon.exposition import Page
from daemon.web._connections import Connections, most_connections
from daemon.web._listener import Listener
from daemon.web._malformed import tell_shortly
from daemon.web._metrics import metrics_handler
from daemon.web._security import secure_headers
from daemon.web.access import Role, visitor
from daemon.web.access.access import Access, open_access
from daemon.web.access.guard import guarding
from daemon.web.access.people import is_own_account, uid_of
from daemon.web.access.policy import AccessPolicy
from daemon.web.control_socket import ControlSocket
from daemon.web.routes import Register, Route, add_routes
from fleet.errors import ConfigError, CustodeError, DaemonError

SHUTDOWN_SECONDS = 5.0
HEAD_SECONDS = 30.0  # until the head of a request must have come, or the next request
MOST_OF_ADDRESS = 200
MOST_LOCAL, MOST_OF_ACCOUNT = 200, 100  # over the control socket


class WebServer:
    """Serves the page. `not_ready` says why not, or None; `reload` raises CustodeError when it changes nothing.

    `waiting` is of how many environments not everything has been looked at once: strangers are told no names.

    `register` adds the routes of others before the server starts; `access` says to whom they are open. Without it,
    nobody is known.
    """

    def __init__(
        self,
        page: Page,
        *,
        not_ready: Callable[[], str | None],
        reload: Callable[[], Awaitable[None]],
        register: Sequence[Register] = (),
        access: Access | None = None,
        waiting: Callable[[], int] = lambda: 0,
        count: Callable[[int], None] = lambda _status: None,
    ) -> None:
        self._not_ready = not_ready
        self._waiting = waiting
        self._reload = reload
        self._access = access = access or open_access()
        access.on_change = self._renew
        self.application = web.Application(middlewares=[guarding(access)])
        self.application.on_response_prepare.append(secure_headers)
        self.application.on_response_prepare.append(self._configured_headers)
        add_routes(
            self.application,
            [
                Route("GET", "/metrics", metrics_handler(page), Role.VIEWER, "Everything measured, for Prometheus"),
                Route("HEAD", "/metrics", metrics_handler(page), Role.VIEWER, "The same without its body"),
                Route("GET", "/-/healthy", self._healthy, Role.PUBLIC, "Whether the daemon lives"),
                Route("GET", "/-/ready", self._ready, Role.PUBLIC, "Whether everything has been looked at once"),
                Route("POST", "/-/reload", self._reloaded, Role.ADMIN, "Read the configuration again"),
            ],
        )
        for add in register:
            add(self.application)
        server_logger.addFilter(tell_shortly)
        self._runner = web.AppRunner(
            self.application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, keepalive_timeout=HEAD_SECONDS
        )
        self._listener = Listener(
            self._runner,
            Connections(most_connections(), MOST_OF_ADDRESS),
            place=lambda _accepted, address: access.place_of(address[0]),
            refused=lambda: access.count("connections"),
        )
        self._local = Listener(
            self._runner,
            Connections(most_connections(MOST_LOCAL), MOST_OF_ACCOUNT),
            place=_account,
            refused=lambda: access.count("connections"),
        )
        self._control: ControlSocket | None = None
        self._count = count

    async def start(self, host: str, port: int, *, control: Path | None = None) -> None:
        """Listen on `host`, where port 0 lets the system choose, and on the control socket in the folder `control`.

        Over TLS, where the access wants it.

        Raises:
            DaemonError: the address or the socket cannot be listened on.
        """
        await self._runner.setup()
        try:
            self._listener.tls = self._access.policy.tls
            await self._listener.open(host, port)
        except DaemonError:
            await self._runner.cleanup()
            raise
        if control is not None:
            await self._listen_locally(control)

    async def stop(self) -> None:
        """Close the sockets and let requests end, for SHUTDOWN_SECONDS at most."""
        if self._control is not None:
            self._control.remove()
        await self._local.close()
        await self._listener.close()
        await self._runner.cleanup()
        if self._control is not None:
            self._control.close()

    async def _listen_locally(self, data_dir: Path) -> None:
        try:
            self._control = ControlSocket(data_dir)
            self._local.accept_from(self._control.socket)
        except BaseException:
            await self.stop()
            raise

    @property
    def address(self) -> str:
        """The URL at which the server is reached, with the real port. Only after `start`."""
        return self._listener.address

    def _renew(self, policy: AccessPolicy) -> None:
        self._listener.tls = policy.tls

    async def _configured_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Those of web.yml add to ours, or stand in their place."""
        response.headers.update(self._access.policy.web.http_server_config.headers)
        self._count(response.status)

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="Custode is healthy.\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if reason := self._not_ready():
            if visitor(request).role < Role.VIEWER:
                reason = f"environments that were not looked at yet: {self._waiting()}"
            return web.Response(status=503, text=f"Custode is not ready: {reason}\n")
        return web.Response(text="Custode is ready.\n")

    async def _reloaded(self, _request: web.Request) -> web.Response:
        try:
            await self._reload()
        except CustodeError as error:
            hint = f"\n{error.hint}" if error.hint else ""
            return web.Response(status=400 if isinstance(error, ConfigError) else 500, text=f"{error}{hint}\n")
        return web.Response(text="Reloaded.\n")


def _account(accepted: socket.socket, _address: Any) -> str | None:
    uid = uid_of(accepted)
    return None if is_own_account(uid) else str(uid)
