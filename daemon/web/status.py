"""GET /api/v1/status: the status table as JSON, in Prometheus's envelope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from pydantic import TypeAdapter

from daemon.status import Board

_BOARD = TypeAdapter(Board)


def status_routes(board: Callable[[], Awaitable[Board]]) -> Callable[[web.Application], None]:
    async def status(_request: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": _BOARD.dump_python(await board(), mode="json")})

    def register(application: web.Application) -> None:
        application.router.add_get("/api/v1/status", status)

    return register
