"""What is shown where a page cannot be: in the frame for browsers, in the envelope for the API, plain for the rest."""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from daemon.page.frame import Frame
from daemon.web._actions_reply import status_of
from fleet.errors import CustodeError

log = structlog.get_logger()

_KEPT = ("Allow", "WWW-Authenticate", "Retry-After")


@dataclass(frozen=True, slots=True)
class _Said:
    kind: str  # the name of such errors in the API
    title: str
    hint: str


_SAID = {
    400: _Said("bad_data", "This cannot be read", "Go back, load the page again and try once more."),
    401: _Said("unauthorized", "Who you are is not known", "Sign in, then come back."),
    403: _Said("forbidden", "This is not open to you", "Sign in as somebody who may."),
    404: _Said("not_found", "There is no such page", "It may have been about something that is gone."),
    405: _Said("not_allowed", "This cannot be done here", "Go back and use the buttons of the page."),
    409: _Said("not_possible", "This is not possible", "Look how it stands now."),
    413: _Said("too_large", "That is too much at once", "Send less."),
    429: _Said("too_many", "Too many attempts", "Wait a minute, then try again."),
    500: _Said("internal", "This page could not be made", "It is a defect of Custode: the daemon's log says where."),
    503: _Said("unavailable", "This is not known now", "Custode goes on; try again in a moment."),
}
_OTHER = _Said("http", "This did not work", "")


def error_pages(frame: Frame) -> Middleware:
    """Shows errors in the frame. The outermost of all, so that it sees what the others refuse."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            told = "" if error.text == f"{error.status}: {error.reason}" else (error.text or "").strip()
            answer = await _shown(frame, request, error.status, told)
            answer.headers.update({name: error.headers[name] for name in _KEPT if name in error.headers})
            return answer
        except CustodeError as error:
            return await _shown(frame, request, status_of(error)[0], error.message, error.hint)
        except Exception:  # the boundary of one request: the daemon must go on
            log.exception("request_failed", method=request.method, path=request.path)
            return await _shown(frame, request, 500)

    return middleware


async def _shown(
    frame: Frame, request: web.Request, status: int, message: str = "", hint: str | None = None
) -> web.Response:
    said = _SAID.get(status, _OTHER)
    message, hint = message or said.title, hint or said.hint
    if request.path.startswith("/api/"):
        told = {"status": "error", "errorType": said.kind, "error": message, "hint": hint, "code": None}
        return web.json_response(told, status=status)
    if "text/html" in request.headers.get("Accept", ""):
        return await frame.page(request, "error.html", status, code=status, said=said, message=message, hint=hint)
    return web.Response(status=status, text=f"{message}\n{hint}\n")
