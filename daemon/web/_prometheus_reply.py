"""How a reply or a failure leaves: statuses and error types are those of Prometheus's web/api/v1/api.go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Self

import structlog
from aiohttp import web

from daemon.queries import BadQueryError, QueriesBusyError, QueryCanceledError, QueryTimeoutError
from daemon.web._prometheus_form import BadParameterError
from daemon.web._prometheus_json import Reply, failure
from rules import QueryError

log = structlog.get_logger()

SEND_SECONDS = 30.0
_CHUNK = 32 * 1024  # characters; the event loop is let in after each, some 2 ms
_JSON = "application/json"
_FAILURES: tuple[tuple[type[Exception], int, str], ...] = (
    (BadParameterError, 400, "bad_data"),
    (BadQueryError, 400, "bad_data"),
    (QueryTimeoutError, 503, "timeout"),
    (QueriesBusyError, 503, "unavailable"),
    (QueryCanceledError, 499, "canceled"),
    (QueryError, 422, "execution"),
)


class Failures:
    """Turns what goes wrong into a response."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.Response | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception) or isinstance(error, web.HTTPException):
            return False
        status, name, message = _told(error)
        if status == 500:  # the boundary of one request: the daemon must go on
            log.error("query_api_failed", path=self._request.path, exc_info=error)
        self.response = web.Response(status=status, text=failure(name, message), content_type=_JSON)
        return True


def _told(error: Exception) -> tuple[int, str, str]:
    for kind, status, name in _FAILURES:
        if isinstance(error, kind):
            return status, name, str(error)
    return 500, "internal", "internal error, see the log"


async def send(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send it in chunks; who takes longer than SEND_SECONDS to read them is dropped."""
    chunks = _chunks(reply.pieces())
    first, second = next(chunks, b""), next(chunks, None)
    if second is None:
        return web.Response(body=first, content_type=_JSON)
    response = web.StreamResponse(headers={"Content-Type": _JSON})
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await response.prepare(request)
            await response.write(first)
            chunk: bytes | None = second
            while chunk is not None:
                await response.write(chunk)
                await asyncio.sleep(0)
                chunk = next(chunks, None)
            await response.write_eof()
    except TimeoutError:
        log.warning("query_reader_too_slow", remote=request.remote, seconds=SEND_SECONDS)
        if request.transport is not None:
            request.transport.abort()
    return response


def _chunks(pieces: Iterable[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield "".join(held).encode()
            held, size = [], 0
    if held:
        yield "".join(held).encode()
