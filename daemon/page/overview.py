"""GET /: the fleet as a table, environments by promises."""

from __future__ import annotations

from aiohttp import web

from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.web.access import Role
from daemon.web.routes import Route


def routes(sources: Sources, frame: Frame) -> list[Route]:
    async def overview(request: web.Request) -> web.Response:
        return await frame.page(request, "overview.html", board=await sources.board())

    return [Route("GET", "/", overview, Role.VIEWER, "The fleet: what is promised, and whether it is kept")]
