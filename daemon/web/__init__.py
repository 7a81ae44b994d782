"""The HTTP server: metrics, health, readiness, reload; other routes register themselves."""

from daemon.web._server import WebServer
from daemon.web.routes import Register

__all__ = ["Register", "WebServer"]
