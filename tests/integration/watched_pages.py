"""All pages over real rules, samples, stores and a real engine, and where their links lead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from aiohttp.typedefs import Handler

from daemon.config import Settings, parse
from daemon.page import Live, Sources, page_routes
from daemon.queries import Queries
from daemon.silences import Muting, Silences
from daemon.status import Board
from daemon.web.access import VISITOR, Role, Visitor
from daemon.web.access.access import Access
from daemon.web.access.policy import AccessPolicy
from daemon.web.alert import alert_routes
from daemon.web.routes import known_routes, route_of
from fleet.environment import Environment
from fleet.secrets import Secrets
from fleet.stores import Store
from rules import Dialect, Labels, RuleEngine, SampleStore
from tests.integration.engines import Daemon
from tests.judging import make_engine

T = TypeVar("T")
_ELSEWHERE = {"/metrics"}  # a route of the server around the pages


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.handlers += [name for name in said if name.startswith("on") or name == "style"]
        if tag == "a":
            self.links.append(said["href"] or "")
        if said.get("id"):
            self.ids.append(said["id"] or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@dataclass(frozen=True)
class Seen:
    """A page: `text` is what people read of it, `links` where they can go."""

    status: int
    html: str
    text: str
    links: list[str]
    tags: list[str]
    ids: list[str]
    handlers: list[str]


@dataclass
class Watched:
    """Pages, and what they are of. `muted` is what does not page, by the name of the alert."""

    client: TestClient[web.Request, web.Application]
    daemon: Daemon
    rules: RuleEngine
    samples: SampleStore
    silences: Silences
    person: str | None = "anna"
    muted: dict[str, Muting] = field(default_factory=dict)

    def land(self, *series: tuple[Mapping[str, str], float], at: float) -> None:
        """Samples of one moment; the rules judge them."""
        self.samples.land("test", at, [(Labels(labels), value) for labels, value in series])
        self.rules.evaluate_all(at)

    async def get(self, path: str) -> Seen:
        async with self.client.get(path, headers={"Accept": "text/html"}) as answer:
            html = await answer.text()
        reader = _Reader()
        reader.feed(html)
        text = " ".join("".join(reader.texts).split())
        return Seen(answer.status, html, text, reader.links, reader.tags, reader.ids, reader.handlers)

    async def json(self, path: str) -> tuple[int, Any]:
        async with self.client.get(path) as answer:
            return answer.status, await answer.json()

    async def nowhere(self, page: str, seen: Seen) -> list[str]:
        """The links of a page that lead to no declared route."""
        app = self.client.app
        lost = []
        for link in seen.links:
            parts = urlsplit(urljoin(page, link))
            if parts.scheme in {"http", "https"} or parts.path in _ELSEWHERE:
                continue
            match = await app.router.resolve(make_mocked_request("GET", parts.path or page))
            if parts.scheme or match.http_exception is not None or match.route not in _declared(app):
                lost.append(link)
        return lost


def _declared(app: web.Application) -> list[web.AbstractRoute]:
    paths = {(route.method, route.path) for route in known_routes(app)}
    return [
        route
        for route in app.router.routes()
        if route.resource is not None and (route.method, route.resource.canonical) in {*paths, *_plain(paths)}
    ]


def _plain(paths: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """As aiohttp writes them, without the patterns of their parts."""
    app = web.Application()
    made = [app.router.add_route(method, path, _nobody) for method, path in paths]
    return {(route.method, route.resource.canonical) for route in made if route.resource is not None}


async def _nobody(_request: web.Request) -> web.StreamResponse:
    raise AssertionError("nobody asks here")


async def _at_once(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


@asynccontextmanager
async def watched(
    daemon: Daemon,
    folder: Path,
    rules: str,
    *,
    environments: Mapping[str, Environment],
    stores: Mapping[str, Store] | None = None,
    now: Callable[[], float] | None = None,
) -> AsyncIterator[Watched]:
    """Serve all pages; who looks is `person` of what is given, a viewer where that is None."""
    now = now or time.time
    names = "".join(
        f"  {name}: {{tier: {one.tier.value}, dsn: postgresql://u@h/d}}\n" for name, one in environments.items()
    )
    settings: Settings = parse(f"environments:\n{names}", folder / "custode.yml")
    settings = settings.model_copy(update={"environments": environments})
    samples, engine = make_engine(rules, "/etc/custode/<b>rules</b>.yml")
    means, secrets = daemon.engine.means, Secrets(time.monotonic)
    site: list[Watched] = []

    async def board() -> Board:
        return Board(now(), (), ())

    sources = Sources(
        settings=lambda: settings,
        board=board,
        judged=engine,
        queries=Queries(samples, _at_once, now=now, dialect=Dialect()),
        port=daemon.people,
        silences=Silences(daemon.state, means.ledger, means.operators, now=now),
        operators=means.operators,
        actions=means.actions,
        stores=lambda: stores or {},
        secrets=secrets,
        access=Access(AccessPolicy(), means.operators, secrets, now=now, monotonic=time.monotonic),
        live=Live(),
        address=lambda: "http://custode.example",
        now=now,
        muting=lambda labels: site[0].muted.get(labels["alertname"]),
    )

    @web.middleware
    async def known(request: web.Request, handler: Handler) -> web.StreamResponse:
        person = site[0].person
        role = Role.VIEWER if person is None else Role.OPERATOR
        request[VISITOR] = Visitor(person, role, "page", csrf="token")
        if route_of(request) is None:
            raise web.HTTPNotFound
        return await handler(request)

    app = web.Application(middlewares=[known])
    page_routes(sources)(app)
    alert_routes(engine.groups)(app)
    async with TestClient(TestServer(app)) as client:
        site.append(Watched(client, daemon, engine, samples, sources.silences))
        yield site[0]
