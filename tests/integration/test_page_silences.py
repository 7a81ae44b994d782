"""The page of silences: from the link of an alert to one that lasts, longer, and ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from daemon.actions.views import LedgerFilter
from rules import State
from tests.integration.alertmanagers import view
from tests.integration.engines import MakeDaemon
from tests.integration.page_site import PageSite, operator, page_site

HOSTILE = 'a\\b"><u>c</u>\n& d=e '
LABELS = {"alertname": "Bloated", "environment": "qa", "relname": HOSTILE, "severity": "warning"}


@pytest.fixture
async def site(make_daemon: MakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PageSite]:
    people = {"anna": operator("anna"), "dora": operator("dora", environments=("prod",))}
    for name in people:
        monkeypatch.setenv(f"TOKEN_OF_{name.upper()}", f"of-{name}")
    async with page_site(await make_daemon(operators=people), tmp_path) as site:
        site.alerts.lasting = [
            view("Bloated", labels=LABELS),
            view("Bloated", State.RESOLVED, labels=LABELS | {"environment": "qa2"}),
            view("Other", labels={"relname": HOSTILE}),
        ]
        yield site


async def test_the_link_of_an_alert_leads_to_its_silence(site: PageSite) -> None:
    page = await site.get(f"/silences?{urlencode(LABELS)}")
    assert "It would silence 1 alert now." in page.text
    assert "Bloated it is" in page.text
    form = page.form("/silences")
    assert form.fields["labels"].split("\n") == [
        "alertname=Bloated",
        "environment=qa",
        'relname=a\\\\b"><u>c</u>\\n& d=e ',
    ]
    assert page.tags.count("u") == 0
    made = await site.press(form, comment="deploy & <b>", duration="8h")
    assert "Silenced: alertname=Bloated environment=qa relname=" in made.text
    assert "Silences 1 alert now" in made.text
    (silence,) = await site.silences.recent()
    assert {one.name: one.value for one in silence.matchers} == {k: v for k, v in LABELS.items() if k != "severity"}
    assert (silence.created_by, silence.comment) == ("anna", "deploy & <b>")
    assert silence.ends_at - silence.starts_at == 8 * 3600
    longer = await site.press(made.form(f"/silences/{silence.id}/extend"), duration="24h")
    assert "It lasts longer now" in longer.text
    ended = await site.press(longer.form(f"/silences/{silence.id}/expire"))
    assert "Nothing is silenced." in ended.text
    again = await site.press(longer.form(f"/silences/{silence.id}/expire"))
    assert f"the silence {silence.id} has ended" in again.text
    entries = await site.daemon.people.entries(LedgerFilter(entry="silence"))
    assert [(one.facts["what"], one.facts["via"]) for one in reversed(entries)] == [
        ("create", "page"),
        ("extend", "page"),
        ("expire", "page"),
    ]


async def test_what_it_hits_is_shown_before_and_by_an_address(site: PageSite) -> None:
    form = (await site.get("/silences")).form("/silences")
    status, location, _ = await site.send(form, button="Show what it hits", labels="environment=qa", comment="x")
    assert status == 303
    page = await site.get(location.partition("#")[0])
    assert "It would silence 2 alerts now." in page.text
    assert page.form("/silences").fields["comment"] == "x"
    assert "csrf" not in location
    none = await site.get("/silences?alertname=Nothing")
    assert "No alert has all of these labels now." in none.text
    assert await site.silences.recent() == []


async def test_what_is_too_long_for_an_address_is_shown_without_one(site: PageSite) -> None:
    form = (await site.get("/silences")).form("/silences")
    long = "environment=qa\n" + "é" * 1900 + "=x"  # 11 KB in an address, 4 KB in the form
    refused = await site.press(form, labels=long, comment="ö" * 1900)
    assert "write one label a line, as name=value" in refused.text
    assert (refused.form("/silences").fields["labels"], refused.url) == (long, "/silences")
    fits = f"environment=qa\nrelname={'é' * 1900}"
    preview = await site.press(form, button="Show what it hits", labels=fits, comment="ö" * 1900)
    assert "No alert has all of these labels now." in preview.text
    assert preview.form("/silences").fields["comment"] == "ö" * 1900
    assert 'hx-get="/silences"' in preview.html
    assert await site.silences.recent() == []
    assert "Silenced: environment=qa" in (await site.press(preview.form("/silences"))).text


@pytest.mark.parametrize(
    ("labels", "duration", "said"),
    [
        ("no label", "2h", "write one label a line, as name=value"),
        ("1a=b", "2h", "write one label a line, as name=value"),
        ("", "2h", "a silence must name at least one label"),
        ("a=b", "1s", "a silence lasts from one minute to 30 days"),
        ("a=b", "soon", "is not a duration"),
        ("a=b", "", "it is not said how long it lasts"),
    ],
)
async def test_what_makes_no_sense_is_refused_in_words(site: PageSite, labels: str, duration: str, said: str) -> None:
    form = (await site.get("/silences")).form("/silences")
    page = await site.press(form, labels=labels, duration=duration)
    assert said in page.text
    assert await site.silences.recent() == []


async def test_who_may_not_is_told_and_it_is_on_record(site: PageSite) -> None:
    form = (await site.get("/silences?environment=qa")).form("/silences")
    refused = await site.press(form, "dora")
    assert "dora may ask for actions, but only for the environments prod, not for qa" in refused.text
    assert refused.form("/silences").fields["labels"] == "environment=qa"
    assert await site.silences.recent() == []
    (entry,) = await site.daemon.people.entries(LedgerFilter(entry="silence"))
    assert entry.facts["decision"] == "refused"
    ledger = await site.get("/ledger?entry=silence")
    assert "wanted to create a silence on the page and was refused: dora may ask" in ledger.text


async def test_viewers_see_silences_and_no_buttons(site: PageSite) -> None:
    await site.press((await site.get("/silences?environment=qa")).form("/silences"))
    page = await site.get("/silences", None)
    assert "environment=qa" in page.text
    assert page.offered() == set()
    assert "Sign in as an operator to act." in page.text
