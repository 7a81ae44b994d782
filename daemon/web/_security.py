"""What every response says to a browser."""

from __future__ import annotations

from aiohttp import web

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers say Origin: null of our own forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def secure_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Add security headers unless the handler set its own, and do not tell which software answers."""
    response.headers.pop("Server", None)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
