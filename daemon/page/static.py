"""The files that pages name: styles, scripts, and those of others under `vendor`, whose origin stands beside them."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from mimetypes import guess_type

from aiohttp import ETag, web

from daemon.web.access import Role
from daemon.web.routes import Route

_FOLDER = files("daemon.page") / "static"
_FOR_EVER = "public, max-age=31536000, immutable"


@lru_cache(1)
def _contents() -> dict[str, bytes]:
    found = {one.name: one.read_bytes() for one in _FOLDER.iterdir() if one.is_file()}
    return found | {f"vendor/{one.name}": one.read_bytes() for one in (_FOLDER / "vendor").iterdir()}


@lru_cache(100)
def _version(name: str) -> str:
    return sha256(_contents()[name]).hexdigest()[:16]


def address(name: str) -> str:
    """Where a page finds the file; another address once its content changes. Raises KeyError."""
    return f"/static/{name}?v={_version(name)}"


def routes() -> list[Route]:
    """A route a file: what is not there when the daemon starts cannot be asked for."""
    robots = Route("GET", "/robots.txt", _robots, Role.PUBLIC, "Nothing here is for search engines")
    return [robots, *(_route(name) for name in sorted(_contents()))]


async def _robots(_request: web.Request) -> web.Response:
    return web.Response(text="User-agent: *\nDisallow: /\n")


def _route(name: str) -> Route:
    kind = guess_type(name)[0] or "application/octet-stream"
    etag = ETag(_version(name))

    async def send(request: web.Request) -> web.Response:
        kept = _FOR_EVER if request.query.get("v") == etag.value else "no-cache"
        if request.if_none_match and etag in request.if_none_match:
            response = web.Response(status=304)
        else:
            response = web.Response(body=_contents()[name], content_type=kind)
        response.etag, response.headers["Cache-Control"] = etag, kept
        return response

    return Route("GET", f"/static/{name}", send, Role.PUBLIC, "A file that pages name")
