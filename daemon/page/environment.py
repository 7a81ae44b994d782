"""GET /environments/NAME: all that is known of one environment, and .../schema: what differs in its schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from aiohttp import web

from daemon.page import charts
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.status import PROMISES
from daemon.views.environment import Environments
from daemon.views.schema_diff import SchemaDiffs
from daemon.web._actions_input import Input, Nothing, read_query
from daemon.web.access import Role
from daemon.web.routes import Route

SHOWN = 25  # rows of a table, unless all are asked for
T = TypeVar("T")
Long = Literal["tables", "indexes"]  # what there may be thousands of

SECTIONS = {
    "promises": "Promises",
    "collectors": "Collectors",
    "server": "Server",
    "databases": "Databases",
    "disks": "Disks",
    "tables": "Tables",
    "indexes": "Indexes",
    "vectors": "Vector indexes",
    "schema": "Schema",
    "security": "Security",
    "backups": "Backups",
    "policy": "Policy",
}


class Shown(Input):
    """`all` names the tables of the page that are shown to their ends."""

    all: tuple[Long, ...] = ()


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """The first rows of a table, of `count` in all; `more` is the address that shows all of them."""

    rows: Sequence[T]
    count: int
    more: str | None


def part(name: Long, rows: Sequence[T], asked: Sequence[Long]) -> Part[T]:
    """The table's rows, all of them where they are few or were `asked` for."""
    if name in asked or len(rows) <= SHOWN:
        return Part(rows, len(rows), None)
    wanted = "&".join(f"all={one}" for one in dict.fromkeys((*asked, name)))
    return Part(rows[:SHOWN], len(rows), f"?{wanted}#{name}")


def routes(sources: Sources, frame: Frame) -> list[Route]:
    environments, diffs = Environments(sources), SchemaDiffs(sources.settings)

    async def environment(request: web.Request) -> web.Response:
        asked = read_query(request, Shown).all
        view = await environments.one(request.match_info["name"])
        return await frame.page(
            request,
            "environment.html",
            view=view,
            sections=SECTIONS,
            titles={promise.name: promise.title for promise in PROMISES},
            tables=part("tables", view.tables, asked),
            indexes=part("indexes", view.indexes, asked),
            connections_chart=charts.connections(view),
            databases_chart=charts.database_sizes(view),
            disks=charts.disks(view),
        )

    async def schema(request: web.Request) -> web.Response:
        read_query(request, Nothing)
        name = request.match_info["name"]
        return await frame.page(request, "environment_diff.html", name=name, found=await diffs.of(name))

    return [
        Route("GET", "/environments/{name}/schema", schema, Role.VIEWER, "What differs in its schema", query=Nothing),
        Route("GET", "/environments/{name}", environment, Role.VIEWER, "An environment, all of it", query=Shown),
    ]
