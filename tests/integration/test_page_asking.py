"""The form to ask for an action: the plan is shown first, and one question is one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from actions import Action
from daemon.actions import Result
from daemon.actions.asking import understand
from daemon.actions.views import LedgerFilter, RunFilter
from daemon.page.parameters import fields, read
from daemon.parts import make_actions
from fleet.errors import ActionError
from tests.integration.engines import MakeDaemon
from tests.integration.page_site import PageSite, operator, page_site
from tests.integration.scripted import Dangerous, Scripted

HOSTILE = "a\"b'c <i>&amp; ${x}\n</textarea>"
ALL = make_actions()


@pytest.fixture
async def site(make_daemon: MakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PageSite]:
    people = {"anna": operator("anna"), "dora": operator("dora", environments=("qa",), actions=("analyze",))}
    for name in people:
        monkeypatch.setenv(f"TOKEN_OF_{name.upper()}", f"of-{name}")
    daemon = await make_daemon(Scripted(), Dangerous(), *ALL.values(), operators=people)
    async with page_site(daemon, tmp_path) as site:
        yield site


async def runs(site: PageSite) -> int:
    return len(await site.daemon.people.runs(RunFilter()))


async def test_the_plan_is_shown_then_asked_for_once_however_often_it_is_pressed(site: PageSite) -> None:
    chosen = await site.get("/actions/new?environment=qa&action=scripted")
    preview = await site.press(chosen.form("/actions/preview"), button="Show the plan", **{"p.size": "3"})
    assert "work of size 3 on qa" in preview.text
    assert "✓ allowed nothing speaks against it" in preview.text
    assert "nobody has to approve it" in preview.text
    assert await runs(site) == 0
    ask = preview.form("/actions/new")
    assert ask.fields["p.size"] == "3"
    pressed = await asyncio.gather(*(site.send(ask, reason="why not") for _ in range(3)))
    places = {location.partition("?")[0] for _, location, _ in pressed}
    assert len(places) == 1
    assert await runs(site) == 1
    run = await site.daemon.until(places.pop().rpartition("/")[2])
    assert (run.result, dict(run.parameters), run.reason, run.requested_by) == (
        Result.FIXED,
        {"size": 3},
        "why not",
        "anna",
    )
    other = (await site.press(chosen.form("/actions/preview"))).form("/actions/new")
    assert other.fields["key"] != ask.fields["key"]


async def test_what_is_dangerous_is_asked_for_twice(site: PageSite) -> None:
    chosen = await site.get("/actions/new?environment=qa&action=dangerous")
    ask = (await site.press(chosen.form("/actions/preview"))).form("/actions/new")
    assert ask.required == {"sure"}
    refused = await site.press(ask)
    assert "the box that says you are sure was not ticked" in refused.text
    assert await runs(site) == 0
    assert "Asked for." in (await site.press(ask, sure="yes")).text


async def test_a_link_fills_the_form_in_with_any_name(site: PageSite) -> None:
    page = await site.get(
        "/actions/new?environment=qa&action=scripted&object=" + "%22%3E%3Cb%3E%0A%26x&p.size=7&colour=red"
    )
    form = page.form("/actions/preview")
    assert (form.fields["p.object"], form.fields["p.size"]) == ('"><b>\n&x', "7")
    assert "It has no parameter colour: left out." in page.text
    assert page.tags.count("b") == 0
    unknown = await site.get("/actions/new?environment=%3Ci%3E&action=none-such")
    assert "There is no action none-such." in unknown.text
    assert "There is no environment <i>." in unknown.text


async def test_what_cannot_be_is_told_in_the_engines_words(site: PageSite) -> None:
    form = (await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview")
    wrong = await site.press(form, **{"p.size": "many"})
    assert "parameter size: Input should be a valid integer" in wrong.text
    assert wrong.form("/actions/preview").fields["p.size"] == "many"
    gone = await site.press(form, environment="elsewhere")
    assert "there is no environment 'elsewhere' here" in gone.text
    assert (await site.send(form, **{"p.object": "x\0y"}))[0] == 200
    assert "NUL" in (await site.press(form, **{"p.object": "x\0y"})).text


@pytest.mark.parametrize("length", [900, 1100, 1990])
async def test_what_is_refused_stays_in_the_form_however_long(site: PageSite, length: int) -> None:
    ask = await site.press((await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview"))
    said = {"reason": "é" * length, "p.object": "é" * length}  # 6 bytes each in an address, of which 8190 are read
    refused = await site.press(ask.form("/actions/new"), "dora", **said)
    assert "not for scripted" in refused.text
    fields = refused.form("/actions/preview").fields
    assert {name: fields.get(name) for name in said} == said
    assert await runs(site) == 0


async def test_who_may_not_ask_is_told_so_on_record(site: PageSite) -> None:
    ask = await site.press((await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview"))
    refused = await site.press(ask.form("/actions/new"), "dora")
    assert "dora may ask for actions, but only for the actions analyze, not for scripted" in refused.text
    assert refused.url.startswith("/actions/new?environment=qa&action=scripted")
    entries = await site.daemon.people.entries(LedgerFilter(entry="requested"))
    assert [(one.person, one.facts["decision"]) for one in entries] == [("dora", "refused")]
    assert await runs(site) == 0


async def test_nobody_asks_without_being_known_or_by_a_forged_form(site: PageSite) -> None:
    page = await site.get("/actions/new?environment=qa&action=scripted", None)
    assert [form.action for form in page.forms if form.method == "post"] == []
    assert "Sign in as an operator to act." in page.text
    form = (await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview")
    ask = (await site.press(form)).form("/actions/new")
    status, location, _ = await site.send(ask, None)
    assert (status, location.partition("?")[0]) == (303, "/login")
    assert (await site.send(ask, csrf="forged"))[0] == 403
    assert await runs(site) == 0


@pytest.mark.parametrize("name", sorted(ALL))
async def test_the_form_of_each_action_is_shown_and_its_defaults_are_understood(site: PageSite, name: str) -> None:
    page = await site.get(f"/actions/new?environment=qa&action={name}")
    form = page.form("/actions/preview")
    model = ALL[name].parameters()
    assert [one for one in form.names if one.startswith("p.")] == [f"p.{one}" for one in model.model_fields]
    sent = {one.removeprefix("p."): value for one, value in form.fields.items() if one.startswith("p.")}
    assert read(model, sent) == {}  # nothing was said beyond the defaults
    needed = {one.removeprefix("p.") for one in form.required}
    asked = read(model, sent | dict.fromkeys(needed, "x"))
    meant = understand(site.daemon.engine.means, name, "qa", asked)
    assert meant.parameters == model.model_validate(dict.fromkeys(needed, "x"))


@pytest.mark.parametrize("name", sorted(ALL))
def test_what_is_filled_in_comes_back_as_it_was(name: str) -> None:
    model = ALL[name].parameters()
    given = {field.name: _filled(field.name, field.kind, field.choices) for field in fields(model, {})}
    shown = {field.name: field.value for field in fields(model, given)}
    assert shown == given
    assert read(model, shown) == read(model, given)


def _filled(name: str, kind: str, choices: tuple[str, ...]) -> str:
    match kind:
        case "choice":
            return choices[-1]
        case "number":
            return "64"
        case "lines":
            return "one\ntwo"
    return {"at": "2026-03-01T02:00:00Z"}.get(name, HOSTILE)


def given(action: Action[Any], **said: str) -> Mapping[str, Any]:
    return read(action.parameters(), said)


def test_texts_of_a_form_become_what_the_parameters_are() -> None:
    assert given(ALL["probe_recall"], settings="10\n\n40", exact="no", target="0.9", queries="50") == {
        "settings": [10, 40],
        "exact": False,
        "target": 0.9,
        "queries": 50,
    }
    assert given(ALL["upgrade_vector_index"], halfvec="", keep_old="yes", indexrelname="i") == {
        "keep_old": True,
        "indexrelname": "i",
    }
    assert given(ALL["backup"], databases="a b\n c", engine="snapshot") == {
        "databases": ["a b", " c"],
        "engine": "snapshot",
    }
    assert given(ALL["drop_unused_index"], window="14d") == {}
    assert given(ALL["drop_unused_index"], window="2w", alertname="") == {"window": "2w"}


async def test_a_plan_that_cannot_be_made_says_why(site: PageSite) -> None:
    async def cannot(_job: object) -> None:
        raise ActionError("the server is not ours", hint="look elsewhere")

    action = site.daemon.engine.means.actions["scripted"]
    assert isinstance(action, Scripted)
    action.planning = cannot
    form = (await site.get("/actions/new?environment=qa&action=scripted")).form("/actions/preview")
    page = await site.press(form)
    assert "the server is not ours look elsewhere" in page.text
    assert "/actions/new" not in {one.action for one in page.forms if one.method == "post"}
