"""The HTTP server: metrics, health, readiness, reload; other routes register themselves."""

from daemon.web._server import WebServer

__all__ = ["WebServer"]
