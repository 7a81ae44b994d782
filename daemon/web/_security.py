"""What every response says to a browser, and requests that a foreign page makes a browser send."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


async def secure_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add security headers unless the handler set its own, and do not tell which software answers."""
    response.headers.pop("Server", None)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


@web.middleware
async def refuse_other_sites(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a change that a page of another site asks for through somebody's browser (CSRF).

    Tools send neither header and pass.
    """
    if request.method not in _READING:
        site = request.headers.get("Sec-Fetch-Site", "none")
        origin = request.headers.get("Origin")
        if site not in {"none", "same-origin"} or (origin is not None and urlsplit(origin).netloc != request.host):
            raise web.HTTPForbidden(text="Requests from other sites are refused.\n")
    return await handler(request)
