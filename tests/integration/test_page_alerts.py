"""The pages of alerts and rules, of rules that were really evaluated and runs that really ran."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actions import Verdict
from daemon.actions import Run
from daemon.alertmanager import fingerprint
from daemon.silences import Muting, matchers_for
from rules import Labels, State
from tests.integration.engines import MakeDaemon, Outage, TestWorld, request, until
from tests.integration.scripted import Gate, Scripted
from tests.integration.watched_pages import Watched, watched

HOSTILE = "<script>alert(1)</script>\"'<b>"
RULES = """
groups:
- name: first
  interval: 30s
  rules:
  - alert: TooOld
    expr: age > 10
    labels: {severity: critical, action: scripted}
    annotations:
      summary: "{{ $labels.environment }} is {{ $value }} s old"
      description: "The rule says so."
      runbook_url: https://example.com/runbook?of=TooOld
  - alert: Slow
    expr: slow > 1
    for: 1h
    labels: {severity: warning}
    annotations: {summary: "slow {{ $labels.relname }}", runbook_url: "javascript:alert('{{ $labels.relname }}')"}
  - alert: Watchdog
    expr: vector(1)
    labels: {severity: none}
  - record: age:max
    expr: max(age)
- name: broken
  rules:
  - alert: Broken
    expr: slow * on() slow
"""
OLD = {"__name__": "age", "environment": "qa"}
SLOW = {"__name__": "slow", "environment": "prod", "relname": HOSTILE}
NAMED = {"__name__": "slow", "environment": "prod", "relname": "a & b=c#d"}


@pytest.fixture
async def at(make_daemon: MakeDaemon, world: TestWorld) -> float:
    return world.now()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def site(
    make_daemon: MakeDaemon, world: TestWorld, tmp_path: Path, at: float, gate: Gate
) -> AsyncIterator[Watched]:
    action = Scripted(first=gate, verdict=Verdict(True, "it is done", {"rows": 3, "age_seconds": 4.0}))
    world.firing = True
    daemon = await make_daemon(action)
    async with watched(daemon, tmp_path, RULES, environments=world.environments, now=world.now) as site:
        site.land((OLD, 70.0), (SLOW, 2.0), (NAMED, 2.0), at=at)
        yield site


def labels(name: str, severity: str, sample: dict[str, str], **more: str) -> dict[str, str]:
    kept = {key: value for key, value in sample.items() if key != "__name__"}
    return {"alertname": name, "severity": severity, **kept, **more}


TOO_OLD = labels("TooOld", "critical", OLD, action="scripted")
OF_TOO_OLD = f"/alerts/{fingerprint(Labels(TOO_OLD))}"
OF_SLOW = f"/alerts/{fingerprint(Labels(labels('Slow', 'warning', SLOW)))}"


async def ask(site: Watched, at: float) -> Run:
    """As the alert does."""
    asked = request(f"alert:x@{at:.3f}", alert=TOO_OLD, at=at)
    return await site.daemon.ask(asked)


async def test_alerts_by_environment_with_what_is_done(site: Watched, gate: Gate, at: float) -> None:
    run = await ask(site, at)
    await gate.until_reached()
    seen = await site.get("/alerts")
    assert seen.status == 200
    assert "1 firing, 2 pending" in seen.text
    assert "qa is 70 s old" in seen.text
    assert "scripted is running: first" in seen.text
    assert f"/actions/{run.id}" in seen.links
    assert "Nothing it may do by itself: this is for people" in seen.text
    assert "Watchdog" not in seen.text, "no person needs to hear of it"
    site.daemon.world.firing = False
    gate.go.set()
    await site.daemon.until(run)
    assert "scripted helped: it is done" in (await site.get("/alerts")).text


async def test_filters_and_groups(site: Watched) -> None:
    assert "1 firing, 0 pending of those you filtered" in (await site.get("/alerts?environment=qa")).text
    assert "0 firing, 2 pending of those you filtered" in (await site.get("/alerts?severity=warning")).text
    assert "Nothing is wrong that matches these filters" in (await site.get("/alerts?alertname=Other")).text
    assert "0 firing, 2 pending" in (await site.get("/alerts?state=pending&group=alert")).text
    assert "1 firing, 0 pending" in (await site.get("/alerts?severity=none")).text
    assert (await site.get("/alerts?group=weather")).status == 400
    assert (await site.get("/alerts?nosuch=1")).status == 400


@pytest.mark.parametrize("page", ["/alerts", "/alerts?group=alert", OF_SLOW, "/rules", "/rules?name=Slow", OF_TOO_OLD])
async def test_names_are_text_and_links_lead_somewhere(site: Watched, page: str) -> None:
    seen = await site.get(page)
    assert seen.status == 200
    assert seen.tags.count("b") == 0
    assert HOSTILE not in seen.html
    assert seen.handlers == []
    assert not [link for link in seen.links if link.lower().startswith("javascript")]
    assert await site.nowhere(page, seen) == []


async def test_a_runbook_is_a_link_only_where_it_is_one(site: Watched) -> None:
    seen = await site.get("/alerts")
    assert "https://example.com/runbook?of=TooOld" in seen.links
    seen = await site.get(OF_SLOW)
    assert "javascript:alert" in seen.text, "it is shown as the text it is"
    assert not [link for link in seen.links if "javascript" in link]


async def test_a_silence_is_filled_in_with_what_names_the_alert(site: Watched) -> None:
    seen = await site.get("/alerts")
    (link,) = [link for link in seen.links if link.startswith("/silences?") and "TooOld" in link]
    assert link == "/silences?alertname=TooOld&environment=qa#new"
    (link,) = [link for link in seen.links if "a+%26+b%3Dc%23d" in link]
    form = await site.get(link)
    assert "relname=a & b=c#d" in form.text


async def test_one_alert_and_what_happened(site: Watched, gate: Gate, at: float) -> None:
    run = await ask(site, at)
    await gate.until_reached()
    site.daemon.world.firing = False
    gate.go.set()
    await site.daemon.until(run)
    matchers = matchers_for(TOO_OLD)
    silence = await site.silences.create(matchers, 600.0, "bruno", via="page", comment="I know <i>")
    site.muted["TooOld"] = Muting(silence.id, "bruno", silence.comment, silence.ends_at)
    seen = await site.get(OF_TOO_OLD)
    assert seen.status == 200
    for words in (
        "It fires",
        "asked for by alert TooOld",
        "it helped: it is done",
        "silenced",
        "by bruno",
        "I know <i>",
    ):
        assert words in seen.text
    assert "age > 10" in seen.text
    assert "age–4s" in seen.text, "what the run measured"
    (rule,) = {link for link in seen.links if link.startswith("/rules?name=TooOld#")}
    assert rule.partition("#")[2] in (await site.get(rule.partition("#")[0])).ids
    status, told = await site.json(f"/api/v1{OF_TOO_OLD}")
    assert (status, told["data"]["state"], told["data"]["value"]) == (200, "firing", 70.0)
    assert told["data"]["rule"]["query"] == "age > 10"


async def test_a_resolved_alert_is_shown_for_a_while(site: Watched, at: float) -> None:
    site.land((OLD, 1.0), at=at + 60)
    seen = await site.get("/alerts")
    assert "0 firing" in seen.text
    assert "✓ resolved" in seen.text.partition("Resolved in the last 15 minutes")[2]
    assert "It was resolved" in (await site.get(OF_TOO_OLD)).text
    assert (await site.json(f"/api/v1{OF_TOO_OLD}"))[1]["data"]["state"] == State.RESOLVED


async def test_an_unknown_fingerprint_is_explained(site: Watched) -> None:
    seen = await site.get("/alerts/0123456789abcdef")
    assert seen.status == 404
    assert "resolved more than 15 minutes ago" in seen.text
    assert await site.nowhere("/alerts/0123456789abcdef", seen) == []
    status, told = await site.json("/api/v1/alerts/0123456789abcdef")
    assert (status, told["errorType"]) == (404, "not_found")
    assert (await site.get("/alerts/x")).status == 404


async def test_alerts_are_told_while_the_state_database_is_away(site: Watched, outage: Outage) -> None:
    async with outage():
        await until(lambda: site.daemon.state.away is not None)
        seen = await site.get("/alerts")
        assert "1 firing, 2 pending" in seen.text
        assert "The state database is away" in seen.text
        assert "Not known: the state database is away" in (await site.get(OF_TOO_OLD)).text
        assert "Nothing it may do by itself" in (await site.get(OF_SLOW)).text
    await site.daemon.state.returned()


async def test_rules_their_health_and_their_alerts(site: Watched) -> None:
    seen = await site.get("/rules")
    for words in (
        "<b>rules</b>.yml",
        "5 rules, ✗ 1 cannot be evaluated",
        "many-to-many",
        "✗ 1 firing",
        "… 2 pending",
        "every 30s",
    ):
        assert words in seen.text
    assert "1 rule matches" in (await site.get("/rules?name=tooold")).text
    assert "1 rule matches" in (await site.get("/rules?health=err")).text
    assert "1 rule matches" in (await site.get("/rules?state=pending")).text
    assert "No rule matches" in (await site.get("/rules?name=nowhere")).text
    assert len(set(seen.ids)) == len(seen.ids), "an anchor for each rule"
