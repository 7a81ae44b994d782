"""GET /api/v1/status: the status table as JSON, in Prometheus's envelope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import TypeAdapter

from daemon.status import Board
from daemon.web._actions_input import Nothing
from daemon.web.access import Role
from daemon.web.routes import Register, Route, registering

_BOARD = TypeAdapter(Board)


def status_routes(board: Callable[[], Awaitable[Board]]) -> Register:
    async def status(_request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": _BOARD.dump_python(await board(), mode="json")})

    summary = "What is promised to each environment, and whether it is kept"
    return registering(Route("GET", "/api/v1/status", status, Role.VIEWER, summary, query=Nothing, answer=Board))
