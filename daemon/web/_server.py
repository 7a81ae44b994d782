"""The aiohttp application and its listening sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web

from daemon.exposition import Page
from daemon.web._metrics import metrics_handler
from daemon.web._security import refuse_other_sites, secure_headers
from daemon.web.access import Role
from daemon.web.control_socket import ControlSocket
from daemon.web.routes import Register, Route, add_routes
from fleet.errors import ConfigError, CustodeError, DaemonError

SHUTDOWN_SECONDS = 5.0


class WebServer:
    """Serves the page. `not_ready` says why not, or None; `reload` raises CustodeError when it changes nothing.

    `register` adds the routes of others before the server starts.
    """

    def __init__(
        self,
        page: Page,
        *,
        not_ready: Callable[[], str | None],
        reload: Callable[[], Awaitable[None]],
        register: Sequence[Register] = (),
    ) -> None:
        self._not_ready = not_ready
        self._reload = reload
        self.application = web.Application(middlewares=[refuse_other_sites])
        self.application.on_response_prepare.append(secure_headers)
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
        self._runner = web.AppRunner(self.application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        self._control: ControlSocket | None = None

    async def start(self, host: str, port: int, *, control: Path | None = None) -> None:
        """Listen on `host`, where port 0 lets the system choose, and on the control socket in the folder `control`.

        Raises:
            DaemonError: the address or the socket cannot be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise DaemonError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hint="is another Custode running, or is the address of another machine?",
            ) from error
        if control is not None:
            await self._listen_locally(control)

    async def stop(self) -> None:
        """Close the sockets and let requests end, for SHUTDOWN_SECONDS at most."""
        if self._control is not None:
            self._control.remove()
        await self._runner.cleanup()
        if self._control is not None:
            self._control.close()

    async def _listen_locally(self, data_dir: Path) -> None:
        try:
            self._control = ControlSocket(data_dir)
            await web.SockSite(self._runner, self._control.socket).start()
        except BaseException:
            await self.stop()
            raise

    @property
    def address(self) -> str:
        """The URL at which the server is reached, with the real port. Only after `start`."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="Custode is healthy.\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if reason := self._not_ready():
            return web.Response(status=503, text=f"Custode is not ready: {reason}\n")
        return web.Response(text="Custode is ready.\n")

    async def _reloaded(self, _request: web.Request) -> web.Response:
        try:
            await self._reload()
        except CustodeError as error:
            hint = f"\n{error.hint}" if error.hint else ""
            return web.Response(status=400 if isinstance(error, ConfigError) else 500, text=f"{error}{hint}\n")
        return web.Response(text="Reloaded.\n")
