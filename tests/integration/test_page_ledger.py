"""The pages of the ledger and of the stop switch, over a real engine."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from daemon.actions.ledger import Entry, Subject
from daemon.actions.views import STOP_FILE, RunState
from daemon.page import ledger
from tests.integration.engines import MakeDaemon, Outage, request
from tests.integration.page_site import PageSite, operator, page_site
from tests.integration.scripted import Dangerous, Scripted

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def site(make_daemon: MakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PageSite]:
    people = {"anna": operator("anna"), "dora": operator("dora", may=("request",))}
    for name in people:
        monkeypatch.setenv(f"TOKEN_OF_{name.upper()}", f"of-{name}")
    async with page_site(await make_daemon(Scripted(), Dangerous(), operators=people), tmp_path) as site:
        yield site


async def fill(site: PageSite, entries: int) -> None:
    for number in range(entries):
        await site.daemon.engine.means.ledger.note(
            Entry.CLICK, Subject(environment="qa", person="zoe"), what=f"button {number} {HOSTILE}", decision="allowed"
        )


async def test_a_run_is_told_in_sentences(site: PageSite) -> None:
    run = await site.daemon.until(await site.daemon.ask(request("k1", "qa", by="anna", reason=HOSTILE)))
    page = await site.get(f"/ledger?run={run.id[:6]}")
    for sentence in (
        f"asked for by anna: {HOSTILE}",
        "planned: work of size 1 on qa (rows 7)",
        "allowed (consent: auto)",
        "step first begun",
        "step first finished in",
        "it helped: it is done",
        "ended as fixed after",
    ):
        assert sentence in page.text, sentence
    assert page.tags.count("img") == 0
    assert (await site.get("/ledger?run=nothing-such")).status == 404


async def test_older_entries_are_behind_a_link_and_all_are_in_the_download(site: PageSite) -> None:
    await fill(site, 130)
    first = await site.get("/ledger?person=zoe&environment=&action=")
    assert first.text.count("in Slack") == 100
    link = re.search(r'rel="next" href="([^"]+)"', first.html)
    assert link is not None
    older = await site.get(link[1].replace("&amp;", "&"))
    assert older.text.count("in Slack") == 30
    assert 'rel="next"' not in older.html
    async with site.session.get("/ledger/download?person=zoe") as answer:
        assert answer.content_type == "application/x-ndjson"
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert [line["facts"]["what"] for line in lines] == [f"button {n} {HOSTILE}" for n in reversed(range(130))]
    api = re.search(r'href="(/api/v1/ledger[^"]*)"', older.html)
    assert api is not None
    assert api[1] == "/api/v1/ledger?person=zoe"


async def test_a_download_that_breaks_off_does_not_look_whole(
    site: PageSite, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_CHUNK", 24)
    note, large = site.daemon.engine.means.ledger.note, "x" * 1_000_000  # more than sockets hold
    for _ in range(25):
        await note(Entry.CLICK, Subject(person="zoe"), what=large)
    with capture_logs() as logs:
        async with site.session.get("/ledger/download?person=zoe") as answer, outage():
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    assert [one["event"] for one in logs if "download" in one["event"]] == ["ledger_download_broken_off"]
    assert not [one for one in logs if one["event"] == "request_failed"]
    await site.daemon.state.returned()
    async with site.session.get("/ledger/download?person=zoe") as answer:
        assert len((await answer.text()).splitlines()) == 25


async def test_since_is_how_long_ago(site: PageSite) -> None:
    await fill(site, 1)
    site.daemon.world.shift = 3600.0
    assert "button 0" not in (await site.get("/ledger?since=30m")).text
    assert "button 0" in (await site.get("/ledger?since=2h")).text
    assert (await site.get("/ledger?since=yesterday")).status == 400
    assert (await site.get("/ledger?before=0")).status == 400


async def test_the_switch_stops_and_lets_begin_and_says_who(site: PageSite) -> None:
    page = await site.get("/stop")
    assert page.offered() == {"stop"}
    stopped = await site.press(page.form("/stop"), reason=HOSTILE)
    assert "All actions are stopped; what runs stops after its step." in stopped.text
    assert f"All actions are stopped by anna, now . {HOSTILE}" in stopped.text or HOSTILE in stopped.text
    assert stopped.tags.count("img") == 0
    run = await site.daemon.ask(request("k1", "qa", by="anna"))
    waits = await site.daemon.until(run, RunState.QUEUED)
    preview = await site.press((await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview"))
    assert "… waits" in preview.text or "✗ refused" in preview.text
    released = await site.press(stopped.form("/stop/release"))
    assert "Actions begin again." in released.text
    await site.daemon.until(waits)
    ledger = await site.get("/ledger?entry=switch")
    assert "let actions begin again on the page" in ledger.text
    assert f"stopped all actions on the page: {HOSTILE}" in ledger.text


async def test_who_may_not_turn_it_is_told(site: PageSite) -> None:
    page = await site.get("/stop", "dora")
    assert page.offered() == set()
    assert "You cannot turn it: dora may not stop and start all actions" in page.text
    refused = await site.press((await site.get("/stop")).form("/stop"), "dora")
    assert "dora may not stop and start all actions" in refused.text
    assert not (await site.daemon.people.switch()).stopped


async def test_a_file_that_stops_them_is_not_released_by_a_button(site: PageSite) -> None:
    (site.daemon.engine.means.ledger.data_dir / STOP_FILE).write_text("root: hands off\n")
    page = await site.get("/stop")
    assert "root: hands off" in page.text
    released = await site.press(page.form("/stop/release"))
    assert "Still stopped, by the file" in released.text
