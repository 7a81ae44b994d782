"""How an answer or a failure of the API of actions leaves, in Prometheus's envelope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from pydantic_core import to_json

from daemon.actions.port import NotAllowedError, NotPossibleError, UnknownRunError
from daemon.silences import UnknownSilenceError
from daemon.views.alerts import UnknownAlertError
from daemon.views.environment import UnknownEnvironmentError
from daemon.views.samples import SamplesError
from daemon.views.schema_diff import NotComparedError
from daemon.web._actions_input import BadInputError, SlowInputError, TooLargeError
from daemon.web.access.errors import (
    ForgedError,
    MisdirectedError,
    TooManyFailuresError,
    UnidentifiedError,
)
from fleet.errors import ActionError, ConnectError, CustodeError, SecretError, StateError

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answers = Callable[[web.Request], Awaitable[object]]  # what goes under `data`
_FAILURES: tuple[tuple[type[CustodeError], int, str], ...] = (
    (TooLargeError, 413, "bad_data"),
    (SlowInputError, 408, "bad_data"),
    (BadInputError, 400, "bad_data"),
    (UnidentifiedError, 401, "unauthorized"),
    (NotAllowedError, 403, "forbidden"),
    (ForgedError, 403, "forbidden"),
    (MisdirectedError, 421, "misdirected"),
    (TooManyFailuresError, 429, "too_many_requests"),
    (UnknownRunError, 404, "not_found"),
    (UnknownSilenceError, 404, "not_found"),
    (UnknownEnvironmentError, 404, "not_found"),
    (UnknownAlertError, 404, "not_found"),
    (NotComparedError, 404, "not_found"),
    (NotPossibleError, 409, "not_possible"),
    (ActionError, 409, "not_possible"),
    (StateError, 503, "unavailable"),
    (SamplesError, 503, "unavailable"),
    (ConnectError, 503, "unavailable"),
    (SecretError, 503, "unavailable"),
)


def answering(answers: Answers) -> Handler:
    """A handler that puts what `answers` gives, or the error it raises, into the envelope."""

    async def handler(request: web.Request) -> web.StreamResponse:
        try:
            return _response(200, {"status": "success", "data": await answers(request)})
        except CustodeError as error:
            return failure(request, error)
        except TimeoutError:
            return _response(503, _told("timeout", CustodeError("it took too long to find out")))
        except web.HTTPException:
            raise
        except Exception:  # the boundary of one request: the daemon must go on
            log.exception("action_api_failed", path=request.path)
            return _response(500, _told("internal", CustodeError("internal error, see the log")))

    return handler


def status_of(error: CustodeError) -> tuple[int, str]:
    """The HTTP status that says so, and the name of such errors in the API."""
    return next(((status, name) for kind, status, name in _FAILURES if isinstance(error, kind)), (500, "internal"))


def failure(request: web.Request, error: CustodeError) -> web.Response:
    """An error as the API tells it."""
    status, name = status_of(error)
    if status == 500:
        log.error("action_api_failed", path=request.path, error=error.message)
    response = _response(status, _told(name, error))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyFailuresError):
        response.headers["Retry-After"] = str(error.seconds)
    return response


def _told(name: str, error: CustodeError) -> dict[str, str | None]:
    return {"status": "error", "errorType": name, "error": error.message, "hint": error.hint, "code": error.code}


def _response(status: int, value: object) -> web.Response:
    # figures that JSON has no number for are sent as texts, so that no reader stumbles over them
    body = to_json(value, inf_nan_mode="strings", fallback=str)
    return web.Response(status=status, body=body, content_type="application/json")
