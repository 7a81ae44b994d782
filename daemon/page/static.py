"""The files that pages name: styles, scripts, and those of others under `vendor`, whose origin stands beside them."""

from __future__ import annotations

from importlib.resources import files
from mimetypes import guess_type

from aiohttp import web

from daemon.web.access import Role
from daemon.web.routes import Route

_FOLDER = files("daemon.page") / "static"
_KEPT = "public, max-age=86400"


def routes() -> list[Route]:
    """A route a file: what is not there when the daemon starts cannot be asked for."""
    found = {one.name: one.read_bytes() for one in _FOLDER.iterdir() if one.is_file()}
    found |= {f"vendor/{one.name}": one.read_bytes() for one in (_FOLDER / "vendor").iterdir()}
    return [_route(name, content) for name, content in sorted(found.items())]


def _route(name: str, content: bytes) -> Route:
    kind = guess_type(name)[0] or "application/octet-stream"

    async def send(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, headers={"Cache-Control": _KEPT})

    return Route("GET", f"/static/{name}", send, Role.PUBLIC, "A file that pages name")
