"""GET /metrics: sends the page piece by piece, so that neither a large page nor a slow reader costs anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog
from aiohttp import web
from aiohttp.hdrs import ACCEPT, ACCEPT_ENCODING

from daemon.exposition import Page, accepts_gzip, accepts_openmetrics

log = structlog.get_logger()

SEND_SECONDS = 30.0
PAUSE_BYTES = 512 * 1024  # a fast reader never makes us wait; the event loop is let in after each, some 0.3 ms
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def metrics_handler(
    page: Page, send_seconds: float = SEND_SECONDS
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that serves `page` in the format that the reader asks for, and drops who takes longer to read it."""

    async def metrics(request: web.Request) -> web.StreamResponse:
        openmetrics = accepts_openmetrics(request.headers.get(ACCEPT, ""))
        gzip = accepts_gzip(request.headers.get(ACCEPT_ENCODING, ""))
        pieces = page.pieces(openmetrics, gzip)
        response = web.StreamResponse(headers={"Content-Type": _OPENMETRICS if openmetrics else _TEXT})
        response.headers["Vary"] = "Accept, Accept-Encoding"
        if gzip:
            response.headers["Content-Encoding"] = "gzip"
        response.content_length = sum(map(len, pieces))
        try:
            async with asyncio.timeout(send_seconds):
                await response.prepare(request)
                if request.method != "HEAD":
                    await _send(response, pieces)
                await response.write_eof()
        except TimeoutError:
            log.warning("metrics_reader_too_slow", remote=request.remote, seconds=send_seconds)
            if request.transport is not None:
                request.transport.abort()
        return response

    return metrics


async def _send(response: web.StreamResponse, pieces: Iterable[bytes]) -> None:
    since_pause = 0
    for piece in pieces:
        await response.write(piece)
        since_pause += len(piece)
        if since_pause >= PAUSE_BYTES:
            await asyncio.sleep(0)
            since_pause = 0
