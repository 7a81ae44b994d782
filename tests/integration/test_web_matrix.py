"""Every route of the daemon, asked by everybody: what is open to whom follows from what the route says of itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from daemon.app import Custode
from daemon.web.access import Role
from daemon.web.access.cookies import COOKIE
from daemon.web.access.csrf import HEADER
from daemon.web.access.guard import RELOAD
from daemon.web.routes import Route, known_routes, registering, route_of
from daemon.web.server import WebServer
from tests.access_site import (
    ROLES,
    TOKENS,
    access_of,
    basic,
    bearer,
    csrf_of,
    probes,
    serving,
    settings_with,
    signed_in,
    write_web_config,
)

Site = tuple[aiohttp.ClientSession, Counter[tuple[str, str]]]
PLACE = re.compile(r"\{(\w+)(?::((?:[^{}]|\{[^{}]*\})*))?\}")
READING = {"GET", "HEAD"}
NOT_OURS = {"/metrics", "/-/healthy", "/-/ready", RELOAD}  # every server has them


def real_server(folder: Path) -> WebServer:
    """As the daemon makes it, of all its parts; nothing is started."""
    custode = Custode(settings_with(folder, operators={"carla": {"webhook_secret": "env:X"}}))
    acting = custode._make_acting()
    return custode._make_server(acting, custode._make_telling(acting))


@pytest.fixture
def routes(tmp_path: Path) -> list[Route]:
    write_web_config(tmp_path)
    return known_routes(real_server(tmp_path).application)


def path_of(route: Route) -> str:
    """A path that leads to the route."""
    return PLACE.sub(lambda found: "0" * 16 if "[0-9a-f]" in (found[2] or "") else "name", route.path)


def expected(route: Route, role: Role, *, forgery: bool = False) -> bool:
    """Whether the route is open to somebody of a role; `forgery`: whose browser others can make send it."""
    forged = forgery and route.method not in READING and route.forgeable
    return role >= route.role and not forged


@pytest.fixture
async def site(routes: list[Route], tmp_path: Path) -> AsyncIterator[Site]:
    """The routes of the daemon, whose handlers only count that they were reached."""
    reached: Counter[tuple[str, str]] = Counter()

    async def reach(request: web.Request) -> web.Response:
        route = route_of(request)
        assert route is not None
        reached[route.method, route.path] += 1
        return web.Response()

    access = access_of(settings_with(tmp_path))
    others = [replace(route, handler=reach) for route in routes if route.path not in NOT_OURS]
    async with serving(access, [registering(*others), probes(access)]) as (server, session):
        for route in known_routes(server.application):
            assert route.path in NOT_OURS or route.handler is reach or route.summary == ""
        yield session, reached


async def asked(
    session: aiohttp.ClientSession, routes: list[Route], headers: dict[str, str], reached: Counter[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """The status of each route; one that was not reached must have been refused."""
    found = {}
    for route in routes:
        before = reached[route.method, route.path]
        async with session.request(route.method, path_of(route), headers=headers, allow_redirects=False) as answer:
            found[route.method, route.path] = answer.status
        if route.path not in NOT_OURS:
            let_in = reached[route.method, route.path] == before + 1
            assert let_in == (answer.status == 200), (route.method, route.path)
    return found


def open_(route: Route, status: int) -> bool:
    return status not in {401, 403, 404, 421, 429} if route.path in NOT_OURS else status == 200


def compare(routes: list[Route], found: dict[tuple[str, str], int], role: Role, *, forgery: bool = False) -> None:
    wrong = [
        (route.method, route.path, found[route.method, route.path])
        for route in routes
        if open_(route, found[route.method, route.path]) != expected(route, role, forgery=forgery)
    ]
    assert not wrong


def test_every_route_of_the_router_is_declared_and_every_role_has_some(tmp_path: Path) -> None:
    write_web_config(tmp_path)
    application = real_server(tmp_path).application
    declared = {(route.method, route.path) for route in known_routes(application)}
    served = {(route.method, resource.canonical) for resource in application.router.resources() for route in resource}
    assert served == {(method, PLACE.sub(r"{\1}", path)) for method, path in declared}
    assert len(declared) > 60
    assert {route.role for route in known_routes(application)} == set(Role)


def test_what_changes_something_is_open_to_no_viewer(routes: list[Route]) -> None:
    """But signing in and out, what carries a signature of its own, and questions that Prometheus lets be posted."""
    below = {
        route.path for route in routes if route.method not in READING and route.role < Role.OPERATOR and route.forgeable
    }
    assert below == {"/logout"}
    unforgeable = {route.path for route in routes if not route.forgeable and route.role is Role.PUBLIC}
    assert all(path == "/login" or path.startswith(("/api/v1/webhooks/from/", "/slack/")) for path in unforgeable)


async def test_nobody(routes: list[Route], site: Site) -> None:
    session, reached = site
    found = await asked(session, routes, {}, reached)
    compare(routes, found, Role.PUBLIC)
    assert {found[route.method, route.path] for route in routes if route.role > Role.PUBLIC} == {401}


def bad() -> Iterator[dict[str, str]]:
    yield bearer("wrong")
    yield bearer("")
    yield {"Authorization": TOKENS["admin"]}
    yield {"Authorization": f"Token {TOKENS['admin']}"}
    yield {"Authorization": "Basic !!!"}
    yield {"Authorization": "Basic"}
    yield basic("ada", "wrong")
    yield basic("nobody", "of-ada")
    yield {"Cookie": f"{COOKIE}=forged"}
    yield {"X-Forwarded-User": "ada", "X-Remote-User": "ada"}


@pytest.mark.parametrize("number", range(len(list(bad()))))
async def test_bad_credentials(routes: list[Route], site: Site, number: int) -> None:
    session, reached = site
    found = await asked(session, routes, list(bad())[number], reached)
    compare(routes, found, Role.PUBLIC)
    refused = {found[route.method, route.path] for route in routes if route.role > Role.PUBLIC}
    assert refused <= {401, 429}
    assert 401 in refused


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_tokens(routes: list[Route], site: Site, role: Role) -> None:
    session, reached = site
    headers = bearer(TOKENS[role.name.lower()])
    found = await asked(session, routes, headers, reached)
    compare(routes, found, role)
    assert {found[route.method, route.path] for route in routes if route.role > role} <= {403}


@pytest.mark.parametrize("person", ROLES)
@pytest.mark.parametrize("kind", ["password", "session"])
async def test_passwords_and_browsers(routes: list[Route], site: Site, person: str, kind: str) -> None:
    """Both need the token against forgery, as a browser sends them by itself."""
    session, reached = site
    headers = basic(person) if kind == "password" else await signed_in(session, person)
    role = Role[ROLES[person].upper()]
    # where nobody needs to be known, a password is not looked at
    forgeable = [route for route in routes if kind == "session" or route.role > Role.PUBLIC]
    compare(forgeable, await asked(session, forgeable, headers, reached), role, forgery=True)
    token = await csrf_of(session, headers)
    compare(routes, await asked(session, routes, headers | {HEADER: token}, reached), role)
