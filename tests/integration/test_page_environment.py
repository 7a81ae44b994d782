"""The page of an environment, and what the API tells of it, over real samples of a real server."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import TypeAdapter

import collectors
from collectors import Collector
from daemon.actions.operators import Operators
from daemon.alerting import Alerting, FileJournal, RuleThread
from daemon.config import Settings, parse
from daemon.exposition import Page
from daemon.page import environment
from daemon.page.errors import error_pages
from daemon.page.frame import Frame
from daemon.page.live import Live
from daemon.page.sources import Sources
from daemon.parts import load_groups
from daemon.queries import Queries
from daemon.status import Board
from daemon.telemetry import Telemetry
from daemon.views.environment import Environments, EnvironmentSummary, EnvironmentView
from daemon.views.schema_diff import ComparisonView, SchemaDiffs
from daemon.web.access import VISITOR, Role, Visitor
from daemon.web.environments import environment_routes
from daemon.web.routes import add_routes
from daemon.web.server import WebServer
from fleet.plugins import load_plugins
from fleet.secrets import Secrets
from rules import SampleStore
from tests.integration.action_site import MemoryActions
from tests.scraping import HOUR, scraping

if TYPE_CHECKING:
    from daemon.silences import Silences
    from daemon.web.access.access import Access

# what a page must show as it is, and never obey
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quotes' &amp; \\",
    "n\newline",
    "\u202eright to left",
    "na\u00efve \U0001f427",
)
PLAIN = "docs"
MADE = (
    "create table %1$I as select n as id, array[n, 1, 2]::vector(3) as embedding from generate_series(1, 50) n",
    "create index %2$I on %1$I using hnsw (embedding vector_l2_ops)",
    "vacuum analyze %1$I",
)


@dataclass
class Place:
    """A daemon's pages over one watched environment, `qa`, and one that cannot be reached, `gone`."""

    client: aiohttp.ClientSession
    settings: Settings
    actions: MemoryActions

    async def page(self, path: str) -> tuple[int, str]:
        async with self.client.get(path, headers={"Accept": "text/html"}) as answer:
            return answer.status, await answer.text()

    async def api(self, path: str) -> tuple[int, Any]:
        async with self.client.get(f"/api/v1/environments{path}") as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()


class Reader(HTMLParser):
    """What a browser makes of a page: its tags, their attributes, its text by section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.rows: dict[str, int] = {}
        self._section = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.attributes += attrs
        if said.get("id"):
            self.ids.append(said["id"] or "")
        if tag == "section":
            self._section = said.get("id") or ""
        if tag == "a":
            self.links.append(said.get("href") or "")
        if tag == "tr":
            self.rows[self._section] = self.rows.get(self._section, 0) + 1

    def handle_data(self, data: str) -> None:
        self.text += data


@web.middleware
async def viewer(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[VISITOR] = Visitor(None, Role.VIEWER, "http")
    return await handler(request)


@asynccontextmanager
async def place(folder: Path, dsn: str, database: str) -> AsyncIterator[Place]:
    text = f"""
data_dir: {folder}
rules: {{shipped: true}}
schema_reference: gone
environments:
  qa: {{tier: qa, dsn: "{dsn}", databases: ["{database}"], tls: {{mode: disable}}, labels: {{team: "<i>red</i>"}}}}
  gone: {{tier: production, dsn: "postgresql://nobody@127.0.0.1:9/none", tls: {{mode: disable}}}}
"""
    settings = parse(text, folder / "custode.yml")
    thread, store, port = RuleThread(), SampleStore(), MemoryActions()
    alerting = Alerting(
        publish=lambda _: None,
        journal=FileJournal(folder / "alerts.jsonl"),
        now=time.time,
        thread=thread,
        store=store,
    )
    queries = Queries(store, thread, now=time.time)
    tiers = {name: each.tier.value for name, each in settings.environments.items()}

    async def board() -> Board:
        return await alerting.board(tiers)

    async def nothing() -> None: ...

    seldom = {name: options.model_copy(update={"interval": HOUR}) for name, options in settings.collectors.items()}
    kinds = tuple(load_plugins(collectors, Collector).values())
    async with scraping(*settings.environments.values(), collectors=kinds, options=seldom) as running:
        running.listeners.append(lambda batch: alerting.land(batch, judge=True))
        await alerting.reload(load_groups(settings), {})
        await running.scraper.settle()
        await running.scraper.scrape_now("qa")  # what is told before others have been read is told again
        await alerting.settle()
        await alerting.tick()
        sources = Sources(
            settings=lambda: settings,
            board=board,
            judged=alerting,
            queries=queries,
            port=port,
            silences=cast("Silences", None),  # nobody looks at them here
            access=cast("Access", None),
            operators=lambda: Operators(settings.operators, "custode"),
            actions={},
            stores=dict,
            secrets=Secrets(time.monotonic),
            live=Live(),
            address=lambda: "http://custode.example",
            now=time.time,
            errors=running.scraper.errors,
        )
        frame = Frame(sources)

        def register(application: web.Application) -> None:
            add_routes(application, environment.routes(sources, frame))
            environment_routes(Environments(sources), SchemaDiffs(sources.settings))(application)
            application.middlewares.insert(0, error_pages(frame))
            application.middlewares.append(viewer)

        server = WebServer(Page(Telemetry().render), not_ready=lambda: None, reload=nothing, register=[register])
        await server.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(server.address) as client:
                yield Place(client, settings, port)
        finally:
            await server.stop()
    thread.close()


@pytest.fixture
async def at(sql: asyncpg.Connection, server: Any, database: str, tmp_path: Path) -> AsyncIterator[Place]:
    for name in (*HOSTILE, PLAIN):
        for statement in MADE:
            await sql.execute(await sql.fetchval("select format($1, $2::text, $3::text)", statement, name, f"{name} i"))
    async with place(tmp_path, server.dsn(database), database) as found:
        yield found


async def test_names_of_objects_are_text(at: Place) -> None:
    status, html = await at.page("/environments/qa")
    assert status == 200
    read = Reader(html)
    for name in HOSTILE:
        assert name in read.text
        assert f"{name} i" in read.text
    assert "team=<i>red</i>" in read.text
    # as many as the frame of the page has, and all of them from files
    assert read.tags.count("script") == len(
        re.findall(r'<script src="/static/[\w./-]+\?v=[0-9a-f]+" defer></script>', html)
    )
    assert "i" not in read.tags
    assert not [name for name, _ in read.attributes if name.startswith("on") or name == "style"]
    assert len(read.ids) == len(set(read.ids))


async def test_the_page_leads_within_itself(at: Place) -> None:
    _, html = await at.page("/environments/qa")
    read = Reader(html)
    anchors = [link.removeprefix("#") for link in read.links if link.startswith("#")]
    assert set(environment.SECTIONS) <= set(anchors)
    assert set(anchors) <= set(read.ids)
    assert {"/alerts/" + one["fingerprint"] for one in (await at.api("/qa"))[1]["data"]["alerts"]} <= set(read.links)


async def test_what_is_long_is_cut_and_shown_whole_on_demand(at: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SHOWN", 2)
    _, html = await at.page("/environments/qa?all=indexes")
    read = Reader(html)
    assert read.rows["tables"] == 3  # and the head
    assert read.rows["indexes"] == len(HOSTILE) + 2
    (more,) = [link for link in read.links if link.startswith("?")]
    _, html = await at.page(f"/environments/qa{more}")
    assert Reader(html).rows["tables"] == len(HOSTILE) + 2


async def test_what_is_few_is_shown_whole_and_a_wrong_filter_is_refused(at: Place) -> None:
    _, html = await at.page("/environments/qa")
    assert Reader(html).rows["tables"] == len(HOSTILE) + 2  # and the head
    status, _ = await at.page("/environments/qa?all=tables&all=indexes")
    assert status == 200
    for wrong in ("?all=everything", "?some=tables"):
        assert (await at.page(f"/environments/qa{wrong}"))[0] == 400


def test_the_first_rows_and_where_the_others_are() -> None:
    rows = list(range(environment.SHOWN + 5))
    cut = environment.part("indexes", rows, ("tables",))
    assert (len(cut.rows), cut.count, cut.more) == (environment.SHOWN, len(rows), "?all=tables&all=indexes#indexes")
    whole = environment.part("indexes", rows, ("indexes",))
    assert (len(whole.rows), whole.more) == (len(rows), None)
    assert environment.part("tables", rows[:3], ()).more is None


async def test_the_api_tells_the_same_in_the_shape_it_declares(at: Place) -> None:
    status, told = await at.api("/qa")
    assert (status, told["status"]) == (200, "success")
    view = TypeAdapter(EnvironmentView).validate_python(told["data"])
    assert {one.name for one in view.tables} == {*HOSTILE, PLAIN}
    assert {one.name for one in view.vectors} == {f"{name} i" for name in (*HOSTILE, PLAIN)}
    assert {one.rows for one in view.tables} == {50.0}
    assert all(one.valid for one in view.indexes)
    assert {one.collector for one in view.collectors} == set(load_plugins(collectors, Collector))
    assert view.server.version is not None
    assert view.connections.used
    assert view.summary.up is True
    recall = next(one.recall for one in view.vectors if one.name == f"{PLAIN} i")
    assert recall is not None
    assert recall.ratio == pytest.approx(1.0)

    status, told = await at.api("")
    everyone = TypeAdapter(list[EnvironmentSummary]).validate_python(told["data"])
    assert status == 200
    assert [(one.name, one.tier, one.up) for one in everyone] == [("qa", "qa", True), ("gone", "production", False)]
    assert "reachable" in {*everyone[1].broken, *everyone[1].pending}


async def test_an_environment_that_cannot_be_reached_says_so(at: Place) -> None:
    _, told = await at.api("/gone")
    view = TypeAdapter(EnvironmentView).validate_python(told["data"])
    assert view.summary.up is False
    failing = [one for one in view.collectors if one.success is False]
    assert failing == view.collectors[: len(failing)]
    assert {"gone: cannot connect" in (one.error or "") for one in failing} == {True}
    status, html = await at.page("/environments/gone")
    assert status == 200
    assert "✗ down" in html
    assert "gone: cannot connect" in html


async def test_one_that_nobody_knows_is_not_found(at: Place) -> None:
    for path in ("/nope", "/nope/schema", "/%3Cb%3E"):
        status, told = await at.api(path)
        assert (status, told["errorType"], told["hint"]) == (404, "not_found", "known are: qa, gone")
        status, html = await at.page(f"/environments{path}")
        assert status == 404
        assert "known are: qa, gone" in html
        assert "<b>" not in html


async def test_the_state_database_may_be_away(at: Place) -> None:
    at.actions.away = True
    status, html = await at.page("/environments/qa")
    assert status == 200
    assert "Not known:" in html
    _, told = await at.api("/qa")
    assert told["data"]["actions_problem"]
    assert told["data"]["tables"]


async def test_a_schema_is_compared_only_where_there_is_a_reference(at: Place) -> None:
    status, told = await at.api("/gone/schema")
    assert (status, told["errorType"]) == (404, "not_found")
    status, told = await at.api("/qa/schema")  # the reference cannot be read
    assert (status, told["errorType"]) == (503, "unavailable")


async def test_what_differs_between_two_schemas(
    server: Any, database: str, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    other = f"{database}_reference"
    await sql.execute("create table here (id int)")
    await sql.execute("create table common (id int)")
    admin = await asyncpg.connect(server.dsn())
    await admin.execute(f'create database "{other}"')
    try:
        there = await asyncpg.connect(server.dsn(other))
        await there.execute(
            'create extension vector; create extension unaccent; create table common (id int, "<b>" int)'
        )
        await there.close()
        text = f"""
schema_reference: top
environments:
  qa: {{tier: qa, dsn: "{server.dsn(database)}", databases: ["{database}"], tls: {{mode: disable}}}}
  top: {{tier: production, dsn: "{server.dsn(other)}", databases: ["{other}"], tls: {{mode: disable}}}}
"""
        settings = parse(text, tmp_path / "custode.yml")
        (found,) = await SchemaDiffs(lambda: settings).of("qa")
    finally:
        await admin.execute(f'drop database "{other}" with (force)')
        await admin.close()
    assert isinstance(found, ComparisonView)
    assert (found.database, found.against, found.migrating) == (database, "top", ())
    assert {(one.kind, one.object, one.change) for one in found.differences} == {
        ("table", "public.here", "extra"),
        ("column", 'public.common."<b>"', "missing"),
    }
    assert found.count == len(found.differences)
    assert any("<b>" in line for line in found.sql)
