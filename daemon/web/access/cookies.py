"""The cookie that holds a browser's session."""

from __future__ import annotations

from aiohttp import web

COOKIE = "custode_session"
# browsers take it over TLS only, for the whole of one host: no neighbour of the domain can plant another
HOST_COOKIE = f"__Host-{COOKIE}"


def session_id(request: web.Request) -> str:
    """The id of the browser's session; empty where it has none."""
    cookies = request.cookies
    # a proxy may speak TLS before us, and then we are told nothing of it
    return cookies.get(HOST_COOKIE) or ("" if request.secure else cookies.get(COOKIE, ""))


def cookie_name(request: web.Request) -> str:
    return HOST_COOKIE if over_tls(request) else COOKIE


def over_tls(request: web.Request) -> bool:
    """Whether the browser that posts this speaks TLS, to us or to a proxy before us."""
    return request.secure or request.headers.get("Origin", "").startswith("https://")
