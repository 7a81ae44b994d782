"""The pages of actions, used as a browser without scripts does: real forms, a real engine behind them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from actions import Verdict
from daemon.actions import Result, RunState
from daemon.actions.port import NotPossibleError
from daemon.actions.views import LedgerFilter, Run
from tests.integration.engines import MakeDaemon, request, until
from tests.integration.page_site import PageSite, operator, page_site
from tests.integration.scripted import Dangerous, Destructive, Gate, Scripted

HOSTILE = "\"><script>alert(1)</script> & {{ 7919*7907 }} '; drop table x; --\nnext"
ALERT = {"alertname": "TooOld", "environment": "preprod", "relname": HOSTILE}
PREPROD = {"environment": "preprod", "action": "dangerous"}


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def site(
    make_daemon: MakeDaemon, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[PageSite]:
    people = {name: operator(name) for name in ("anna", "bruno", "carla")}
    people["dora"] = operator("dora", environments=("qa",), may=("request",))
    for name in people:
        monkeypatch.setenv(f"TOKEN_OF_{name.upper()}", f"of-{name}")
    hostile = ({"relname": HOSTILE},)
    daemon = await make_daemon(
        Scripted(second=gate), Dangerous(objects=hostile), Destructive(objects=hostile), operators=people
    )
    async with page_site(daemon, tmp_path) as site:
        yield site
        gate.go.set()


async def waiting(site: PageSite, key: str = "k1", **fields: str) -> Run:
    return await site.daemon.until(await site.daemon.ask(request(key, **(PREPROD | fields))), RunState.WAITING)


async def test_a_run_is_approved_by_who_has_read_its_plan(site: PageSite) -> None:
    run = await waiting(site, by="anna", reason=HOSTILE)
    listed = await site.get("/actions")
    assert "Waiting for approval (1)" in listed.text
    assert f"/actions/{run.id}/approve" not in {form.action for form in listed.forms}  # dangerous: not from a list
    seen = await site.get(f"/actions/{run.id}", "bruno")
    assert "work of size 1 on preprod" in seen.text
    assert "select 1" in seen.text
    assert "0 of 1 given; by the policy, one person must approve it. May approve: anna, bruno, carla." in seen.text
    assert run.digest is not None
    assert run.digest in seen.text
    form = seen.form(f"/actions/{run.id}/approve")
    assert form.required == {"sure"}
    assert form.fields["digest"] == run.digest
    unsure = await site.press(form, "bruno")
    assert "nothing was done: the box that says you are sure was not ticked" in unsure.text
    done = await site.press(form, "bruno", sure="yes", reason="go")
    assert "Approved: it begins as soon as nothing speaks against it." in done.text
    ended = await site.daemon.until(run)
    assert ended.result is Result.FIXED
    after = await site.get(f"/actions/{run.id}")
    assert "bruno ✓ approved over page: go" in after.text
    assert "approved on the page: go" in after.text
    assert after.offered() == {"retry"}
    (answer,) = (await site.daemon.people.run(run.id)).answers
    assert (answer.person, answer.via, answer.reason) == ("bruno", "page", "go")


async def test_names_are_text_and_no_script_is_needed(site: PageSite) -> None:
    alert = await site.daemon.ask(request("k0", "preprod", "dangerous", reason=HOSTILE, alert=ALERT))
    site.daemon.world.firing = True
    run = await site.daemon.until(alert, RunState.WAITING)
    pages = [await site.get(path) for path in ("/actions", f"/actions/{run.id}", "/ledger", "/actions/new")]
    for page in pages:
        assert page.status == 200
        assert page.tags.count("script") == len(re.findall(r'<script src="/static/[^"]+" defer></script>', page.html))
        assert page.handlers == []
        assert "62615533" not in page.text, "no template is made of it"
    assert " ".join(HOSTILE.split()) in pages[1].text
    assert 'href="/alerts/' in pages[1].html
    assert "TooOld" in pages[1].text


async def test_two_people_press_at_once_and_one_is_told(site: PageSite) -> None:
    run = await waiting(site)
    form = (await site.get(f"/actions/{run.id}")).form(f"/actions/{run.id}/approve")
    pages = await asyncio.gather(*(site.press(form, name, sure="yes") for name in ("bruno", "carla")))
    await site.daemon.until(run)
    told = sorted(next(note for note in _notes(page.html)) for page in pages)
    assert any("Approved" in one for one in told)
    assert any("does not wait for an answer" in one for one in told)
    entries = await site.daemon.people.entries(LedgerFilter(run_id=run.id, entry="answer"))
    assert sorted(one.facts["decision"] for one in entries) == ["counted", "refused"]


async def test_a_plan_that_has_changed_is_not_approved_by_who_saw_the_old_one(site: PageSite) -> None:
    run = await waiting(site)
    form = (await site.get(f"/actions/{run.id}")).form(f"/actions/{run.id}/approve")
    old = await site.press(form, "bruno", sure="yes", digest="0" * 64)
    assert "the plan has changed since it was shown" in old.text
    missing = await site.press(form, "bruno", sure="yes", digest="")
    assert "it is not said which plan is meant" in missing.text
    assert (await site.daemon.people.run(run.id)).run.state is RunState.WAITING


async def test_who_may_not_is_told_in_the_operators_words_and_it_is_on_record(site: PageSite) -> None:
    run = await waiting(site)
    seen = await site.get(f"/actions/{run.id}", "dora")
    assert seen.offered() == set()
    assert "You cannot approve this: dora may not approve or reject actions" in seen.text
    theirs = (await site.get(f"/actions/{run.id}")).form(f"/actions/{run.id}/approve")
    refused = await site.press(theirs, "dora", sure="yes")
    assert "dora may not approve or reject actions" in refused.text
    entries = await site.daemon.people.entries(LedgerFilter(run_id=run.id, entry="answer"))
    assert [(one.person, one.facts["decision"]) for one in entries] == [("dora", "refused")]
    assert "that does not count: dora may not" in (await site.get("/ledger?person=dora")).text


async def test_a_note_is_for_the_one_who_pressed_and_not_of_the_address(site: PageSite) -> None:
    run = await waiting(site)
    form = (await site.get(f"/actions/{run.id}")).form(f"/actions/{run.id}/reject")
    status, location, _ = await site.send(form, "bruno", reason="no room")
    assert status == 303
    assert "Rejected: it ends as refused." in (await site.get(location, "bruno")).text
    assert "Rejected: it ends as refused." not in (await site.get(location, "carla")).text
    assert "Rejected" not in (await site.get(f"/actions/{run.id}?note=Rejected%3A+it+ends+as+refused.", "bruno")).text
    ended = (await site.daemon.people.run(run.id)).run
    assert ended.outcome == "rejected by bruno: no room"
    empty = await site.press(form, "bruno")
    assert "reason: Field required" in empty.text


async def test_two_approvals_are_counted(site: PageSite) -> None:
    run = await waiting(site, action="destructive", by="anna")
    mine = await site.get(f"/actions/{run.id}")
    assert mine.offered() == {"reject", "cancel"}
    assert "two other people must approve it" in mine.text
    form = (await site.get(f"/actions/{run.id}", "bruno")).form(f"/actions/{run.id}/approve")
    first = await site.press(form, "bruno", sure="yes")
    assert "Approved: 1 of 2 approvals so far." in first.text
    assert "May approve: carla." in first.text


async def test_a_run_is_paused_resumed_cancelled_and_asked_for_again(site: PageSite, gate: Gate) -> None:
    run = await site.daemon.ask(request("k1", "qa", by="anna"))
    await gate.until_reached()

    async def told() -> bool:
        return (await site.daemon.people.run(run.id)).run.progress is not None

    await until(told)
    listed = await site.get("/actions")
    assert "2/2 second" in listed.text
    assert '<progress max="100" value="50.0"' in listed.html
    seen = await site.get(f"/actions/{run.id}")
    assert seen.offered() == {"pause", "cancel"}
    assert "half of it" in seen.text
    paused = await site.press(seen.form(f"/actions/{run.id}/pause"))
    assert "It pauses after the step under way." in paused.text
    assert paused.offered() == {"cancel"}
    cancel = paused.form(f"/actions/{run.id}/cancel")
    assert cancel.required == {"sure"}
    assert "the box that says you are sure was not ticked" in (await site.press(cancel)).text
    assert "It is being cancelled" in (await site.press(cancel, sure="yes", reason="enough")).text
    ended = await site.daemon.until(run)
    assert ended.result is Result.CANCELLED
    gate.go.set()
    after = await site.get(f"/actions/{run.id}")
    again = await site.press(after.form(f"/actions/{run.id}/retry"))
    assert "Asked for again." in again.text
    assert again.url.startswith("/actions/")
    assert run.id not in again.url.partition("?")[0]
    assert f"as run {run.id}" in again.text
    history = await site.get("/actions?state=cancelled&environment=qa&action=")
    assert "cancelled" in history.text
    assert run.id in history.html


async def test_evidence_stands_side_by_side(site: PageSite) -> None:
    action = site.daemon.engine.means.actions["dangerous"]
    assert isinstance(action, Dangerous)
    action.verdict = Verdict(False, "rows are still there", {"rows": 3})
    run = await waiting(site)
    await site.daemon.people.answer(run.id, "anna", approved=True, via="cli")
    await site.daemon.until(run)
    page = await site.get(f"/actions/{run.id}")
    assert "rows 7 3 −4 (−57%)" in page.text
    assert "✗ not fixed rows are still there" in page.text
    assert "it did not help: rows are still there" in page.text


async def test_history_goes_back_page_by_page(site: PageSite) -> None:
    await site.daemon.people.stop("anna", via="cli")
    for number in range(52):
        parameters = {"object": f"t{number}"}
        run = await site.daemon.ask(request(f"k{number}", "qa", by="anna", at=1000.0 + number, parameters=parameters))
        with suppress(NotPossibleError):  # refused, where its turn came first
            await site.daemon.people.cancel(run.id, "anna", via="cli")
    first = await site.get("/actions?environment=qa")
    link = re.search(r'rel="next" href="([^"]+)"', first.html)
    assert link is not None
    assert link[1] == "/actions?environment=qa&amp;before=1002.0"
    older = await site.get(link[1].replace("&amp;", "&"))
    assert [f">t{number}<" in older.html for number in (0, 1, 2)] == [True, True, False]
    assert 'rel="next"' not in older.html


async def test_filters_are_read_strictly(site: PageSite) -> None:
    for query in ("?state=asleep", "?before=yesterday", "?environment=a&environment=b", "?colour=red", "?action=%00"):
        page = await site.get(f"/actions{query}")
        assert page.status == 400, query
    assert (await site.get("/actions/nothing-such")).status == 404
    assert (await site.get("/actions/%00")).status == 404


def _notes(html: str) -> list[str]:
    return [
        " ".join(re.sub("<[^>]+>", " ", one).split())
        for one in re.findall(r'<div class="note.*?</div>', html, re.DOTALL)
    ]
