"""What is known of each route beside its handler: for whom it is, and what it reads and answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from daemon.web.access.visitor import Role

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Register = Callable[[web.Application], None]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the API or the page.

    `role` is the least that a visitor must have; `summary` one line for the API's document. `query` and `body` are the
    models that the request is read by, `answer` the type of what stands under `data` in the reply, where it is JSON in
    the usual envelope. `forgeable`: a page of another site could do harm by making somebody's browser send this.
    """

    method: str
    path: str
    handler: Handler
    role: Role
    summary: str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: Any = None
    forgeable: bool = True

    @property
    def in_api(self) -> bool:
        return self.path.startswith("/api/")


_ROUTES: web.AppKey[dict[web.AbstractRoute, Route]] = web.AppKey("routes")


def add_routes(application: web.Application, routes: Iterable[Route]) -> None:
    """Register routes, and remember what they say of themselves."""
    known = application.setdefault(_ROUTES, {})
    for route in routes:
        known[application.router.add_route(route.method, route.path, route.handler)] = route


def registering(*routes: Route) -> Register:
    return lambda application: add_routes(application, routes)


def known_routes(application: web.Application) -> list[Route]:
    return list(application.get(_ROUTES, {}).values())


def route_of(request: web.Request) -> Route | None:
    """What is known of the route of a request; None for one that nobody declared, which is open to nobody."""
    return request.app.get(_ROUTES, {}).get(request.match_info.route)
