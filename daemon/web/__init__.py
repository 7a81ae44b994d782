"""The HTTP server: metrics, health, readiness, reload; other routes register themselves."""

from daemon.web._server import Register, WebServer

__all__ = ["Register", "WebServer"]
