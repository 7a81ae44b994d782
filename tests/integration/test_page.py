"""The frame of the page, the overview, errors and files, over a real server, engine and state database."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from daemon.alerting import RuleThread
from daemon.config import AccessSettings, parse
from daemon.exposition import Page
from daemon.page import Live, Sources, page_routes, slices, static
from daemon.page.frame import Frame
from daemon.queries import Queries
from daemon.silences import Silences
from daemon.status import PROMISES, Alert, Board, Cell, Row, State
from daemon.telemetry import Telemetry
from daemon.web.access import Role
from daemon.web.access.access import Access
from daemon.web.access.policy import AccessPolicy
from daemon.web.routes import Route, add_routes
from daemon.web.server import WebServer
from fleet.errors import StateAwayError
from fleet.secrets import Secrets
from rules import AlertView, GroupView, SampleStore
from tests.integration.engines import Daemon, MakeDaemon

HTML = {"Accept": "text/html"}
HOSTILE = '"><script>alert(1)</script> & {{ 7*7 }}'
NOW = 1_796_040_157.0
CONFIGURATION = "environments: {qa: {tier: qa, dsn: postgresql://u@h/d}}"


def make_board(environments: int = 3) -> Board:
    def row(number: int) -> Row:
        states = [State.BROKEN if number == 1 and n == 1 else State.KEPT for n in range(len(PROMISES))]
        name = HOSTILE if number == 2 else f"env-{number}"
        cells = (
            Cell(promise.name, state, f"{HOSTILE} {state.value}")
            if state is State.KEPT
            else Cell(promise.name, state, "no backup", NOW - 7200, "0123456789abcdef")
            for promise, state in zip(PROMISES, states, strict=True)
        )
        return Row(name, "qa", tuple(cells))

    broken = Alert("TooOld", "env-1", "backup", "critical", True, NOW - 7200, "no backup", "0123456789abcdef")
    return Board(NOW, tuple(row(number) for number in range(environments)), (broken,))


class Quiet:
    """Rules of which nothing is known."""

    def groups(self, *, rules: bool = True) -> list[GroupView]:  # noqa: ARG002 - there are none either way
        return []

    def alerts(self) -> list[AlertView]:
        return []


async def _no_reload() -> None:
    return


def make_sources(daemon: Daemon, folder: Path, board: Board) -> Sources:
    means, thread, secrets = daemon.engine.means, RuleThread(), Secrets(time.monotonic)

    async def latest() -> Board:
        return board

    policy = AccessPolicy(AccessSettings(anonymous=True))
    return Sources(
        settings=lambda: parse(CONFIGURATION, folder / "custode.yml"),
        board=latest,
        judged=Quiet(),
        queries=Queries(SampleStore(), thread, now=means.now),
        port=daemon.people,
        silences=Silences(daemon.state, means.ledger, means.operators, now=means.now),
        operators=means.operators,
        actions=means.actions,
        stores=dict,
        secrets=secrets,
        live=Live(),
        access=Access(policy, means.operators, secrets, now=means.now, monotonic=time.monotonic),
        address=lambda: "http://custode.example",
        now=lambda: NOW,
    )


@asynccontextmanager
async def serving(sources: Sources) -> AsyncIterator[aiohttp.ClientSession]:
    async def broken(_request: web.Request) -> web.Response:
        raise RuntimeError("a secret")

    async def away(_request: web.Request) -> web.Response:
        raise StateAwayError("the state database is away", hint="is its server up?")

    def more(application: web.Application) -> None:
        pages = {"/broken": broken, "/away": away, "/api/v1/broken": broken}
        add_routes(application, [Route("GET", path, handler, Role.VIEWER, "") for path, handler in pages.items()])

    server = WebServer(
        Page(Telemetry().render),
        not_ready=lambda: None,
        reload=_no_reload,
        register=[page_routes(sources), more],
        access=sources.access,
    )
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(server.address) as session:
            yield session
    finally:
        await server.stop()


@pytest.fixture
async def sources(make_daemon: MakeDaemon, tmp_path: Path) -> Sources:
    return make_sources(await make_daemon(), tmp_path, make_board())


@pytest.fixture
async def session(sources: Sources) -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(sources) as session:
        yield session


async def text_of(session: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    async with session.get(path, headers=HTML) as answer:
        assert answer.status == status
        assert answer.content_type == "text/html"
        return await answer.text()


async def test_the_overview_says_what_is_wrong_and_since_when(session: aiohttp.ClientSession) -> None:
    text = await text_of(session, "/")
    assert "<title>Fleet · Custode</title>" in text
    assert '<strong>1<span class="quiet"> of 3</span></strong> environments not green' in text
    assert '<a class="what" href="/alerts/0123456789abcdef">no backup</a>' in text
    assert '<time datetime="2026-11-30T10:02:37Z" title="2026-11-30 10:02:37 UTC">2h ago</time>' in text
    assert '<a href="/" data-key="f" aria-current="page">Fleet</a>' in text
    assert '<a href="/login?next=/">Sign in</a>' in text
    assert "http://custode.example/metrics" in text
    assert text.count('scope="row"') == 3


async def test_names_are_shown_as_text(session: aiohttp.ClientSession) -> None:
    text = await text_of(session, f"/?q={'%22%3E%3Cscript%3Ealert(1)'}")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7*7 }}" in text
    assert 'value="&#34;&gt;&lt;script&gt;alert(1)"' in text
    assert 'href="/environments/%22%3E%3Cscript%3Ealert%281%29%3C/script%3E' in text


async def test_the_table_is_filtered(session: aiohttp.ClientSession) -> None:
    text = await text_of(session, "/?state=broken&order=worst")
    assert text.count('scope="row"') == 1
    assert "1 of 3 environments" in text
    assert "No environment is like that" in await text_of(session, "/?q=nowhere")


async def test_a_fleet_that_is_green_says_so(sources: Sources) -> None:
    board = replace(make_board(1), alerts=())

    async def latest() -> Board:
        return board

    async with serving(replace(sources, board=latest)) as session:
        text = await text_of(session, "/")
    assert "<strong>1</strong> environment, all green" in text
    assert "Needs attention" not in text


async def test_what_stops_all_actions_stands_on_every_page(sources: Sources, session: aiohttp.ClientSession) -> None:
    assert "All actions are stopped" not in await text_of(session, "/")
    await sources.port.stop("anna", via="cli", reason="<b>storm</b>")
    text = await text_of(session, "/")
    assert "<strong>All actions are stopped</strong> by anna" in text
    assert "&lt;b&gt;storm&lt;/b&gt;" in text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nowhere", 404, "There is no such page"),
        ("/static/..%2fframe.py", 404, "There is no such page"),
        ("/static/%2e%2e/frame.py", 404, "There is no such page"),
        ("/static/vendor/../../frame.py", 404, "There is no such page"),
        ("/static/", 404, "There is no such page"),
        ("/broken", 500, "the daemon&#39;s log says where"),
        ("/away", 503, "is its server up?"),
    ],
)
async def test_errors_are_pages(session: aiohttp.ClientSession, path: str, status: int, said: str) -> None:
    text = await text_of(session, path, status)
    assert said in text
    assert '<nav aria-label="Main">' in text
    assert "a secret" not in text
    assert "Traceback" not in text


async def test_programs_are_told_errors_in_their_way(session: aiohttp.ClientSession) -> None:
    for path, status, kind in (("/api/v1/nowhere", 404, "not_found"), ("/api/v1/broken", 500, "internal")):
        async with session.get(path, headers=HTML) as answer:
            assert answer.status == status
            told = await answer.json()
        assert (told["status"], told["errorType"]) == ("error", kind)
    async with session.get("/away") as answer:
        assert (answer.status, answer.content_type) == (503, "text/plain")
        assert await answer.text() == "the state database is away\nis its server up?\n"
    async with session.post("/", headers=HTML) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET"


async def test_files_are_kept_by_browsers_until_they_change(session: aiohttp.ClientSession) -> None:
    async with session.get(static.address("custode.css")) as answer:
        assert answer.content_type == "text/css"
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        etag = answer.headers["ETag"]
    async with session.get("/static/custode.css", headers={"If-None-Match": etag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["Cache-Control"] == "no-cache"
    async with session.get("/static/custode.css", headers={"If-None-Match": '"other"'}) as answer:
        assert answer.status == 200
    async with session.get("/robots.txt") as answer:
        assert "Disallow: /" in await answer.text()


async def test_every_template_is_complete(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled with all that the modules of the page add."""
    made: list[Frame] = []

    def make(given: Sources) -> Frame:
        made.append(Frame(given))
        return made[-1]

    monkeypatch.setattr("daemon.page._routes.Frame", make)
    page_routes(sources)
    templates = made[0]._templates
    names = templates.list_templates()
    assert {"base.html", "overview.html", "error.html"} <= set(names)
    for name in names:
        templates.get_template(name)


async def test_a_large_page_does_not_hold_up_others(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    large = make_board(1500)

    async def latest() -> Board:
        return large

    worked: list[float] = []

    async def tick() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            worked.append(time.thread_time() - before)

    async def longest() -> float:
        worked.clear()
        async with serving(replace(sources, board=latest)) as session:
            await text_of(session, "/nowhere", 404)  # what is made once is made
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(tick())
                text = await text_of(session, "/")
                ticking.cancel()
        assert text.count('scope="row"') == 1500
        return max(worked)

    gc.collect()
    gc.disable()  # the daemon freezes what lives to the end; here a collection walks all that the tests have made
    sliced = await longest()
    monkeypatch.setattr(slices, "SLICE_SECONDS", 60.0)
    plain = await longest()
    gc.enable()
    assert 2 * sliced < plain
