"""Alerts as people see them: what is done about each, and which addresses may be followed."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.actions.request import Result, Source
from daemon.actions.views import LedgerView, Progress, Run, RunState
from daemon.views.alerts import KnownRuns, Shown, anchor, doing, runbook, shown_alerts, timeline
from rules import Labels, RuleEngine
from tests.judging import make_engine

NOW = 1_800_000_000.0
RULES = """
groups:
- name: g
  rules:
  - alert: Late
    expr: late > 1
    for: 10m
    keep_firing_for: 5m
    labels: {severity: warning, action: backup}
  - alert: Bad
    expr: bad > 1
    labels: {severity: critical}
  - alert: Bad
    expr: bad > 100
    labels: {severity: info}
"""


@pytest.fixture
def engine() -> RuleEngine:
    return make_engine(RULES)[1]


def shown(late: float = 2.0, bad: float = 0.0, *, minutes: int = 0) -> list[Shown]:
    """As after `minutes` of evaluations, one each, of these values."""
    store, engine = make_engine(RULES)
    for minute in range(minutes + 1):
        at = NOW + 60 * minute
        series = [
            (Labels({"__name__": name, "environment": "qa"}), value) for name, value in (("late", late), ("bad", bad))
        ]
        store.land("test", at, series)
        engine.evaluate_all(at)
    return shown_alerts(engine.groups())


LABELS = {"alertname": "Late", "environment": "qa", "severity": "warning", "action": "backup"}


def run(state: RunState, *, at: float = NOW, alert: dict[str, str] | None = LABELS, **fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": f"r{at:.0f}{state.value}",
        "key": "k",
        "source": Source.ALERT,
        "environment": "qa",
        "action": "backup",
        "object": "",
        "parameters": {},
        "requested_by": "alert Late",
        "requested_at": at,
        "reason": "",
        "alert": alert,
        "state": state,
    }
    return Run(**(values | fields))


@pytest.mark.parametrize(
    ("address", "followed"),
    [
        ("https://example.com/runbook#a", True),
        ("http://wiki/x?y=z", True),
        ("HTTPS://example.com", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("//example.com/x", False),
        ("/relative", False),
        ("https:///no-host", False),
        ("http:javascript:alert(1)", False),
        ("https://[half", False),
        ("", False),
    ],
)
def test_only_addresses_of_the_web_are_followed(address: str, followed: bool) -> None:
    assert runbook({"runbook_url": address}) == (address if followed else None)


def test_what_fires_comes_first_and_the_worst_of_it() -> None:
    assert [(one.name, one.state, one.severity) for one in shown(bad=500.0)] == [
        ("Bad", "firing", "critical"),
        ("Bad", "firing", "info"),
        ("Late", "pending", "warning"),
    ]


def test_each_rule_has_an_anchor_of_its_own(engine: RuleEngine) -> None:
    anchors = [anchor(rule) for group in engine.groups() for rule, _ in group.rules]
    assert len(set(anchors)) == 3
    assert anchors == [anchor(rule) for group in make_engine(RULES)[1].groups() for rule, _ in group.rules]
    (pending,) = shown()
    assert pending.rule.anchor == anchors[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state": RunState.QUEUED, "parked": "the window opens at 2"}, "backup is queued: the window opens at 2"),
        ({"state": RunState.WAITING, "approvals_needed": 1}, "backup waits for 1 approval"),
        ({"state": RunState.WAITING, "approvals_needed": 2}, "backup waits for 2 approvals"),
        (
            {"state": RunState.RUNNING, "step": "copy", "progress": Progress(0.42, "rows", NOW)},
            "backup is running: copy, 42%",
        ),
        ({"state": RunState.PAUSED}, "backup is paused"),
        (
            {"state": RunState.ENDED, "result": Result.REFUSED, "outcome": "it is forbidden"},
            "backup was refused: it is forbidden",
        ),
        ({"state": RunState.ENDED, "result": Result.NOT_FIXED}, "backup did not help"),
    ],
)
def test_how_a_run_stands(fields: dict[str, Any], said: str) -> None:
    (alert,) = shown()
    asked = run(**fields)
    assert doing(alert, KnownRuns([asked])) == (said, asked)


def test_runs_of_an_earlier_time_or_another_alert_do_not_count() -> None:
    (alert,) = shown(minutes=10)
    others = [
        run(RunState.ENDED, at=NOW - 60),
        run(RunState.ENDED, alert=LABELS | {"environment": "prod"}),
        run(RunState.ENDED, alert=None),
    ]
    assert doing(alert, KnownRuns(others)) == ("It asks for backup; no run of it is known", None)
    mine = [run(RunState.ENDED, at=NOW + 5), run(RunState.QUEUED, at=NOW + 65)]
    assert KnownRuns([*others, *mine]).of(alert) == mine[::-1]


def test_what_another_has_asked_for_is_told_while_it_is_under_way() -> None:
    (alert,) = shown(minutes=10)
    other = run(RunState.RUNNING, at=NOW - 60, alert=None, requested_by="schedule nightly")
    said = "Another backup is running; asked for by schedule nightly"
    assert doing(alert, KnownRuns([other])) == (said, other)


def test_nothing_is_claimed_while_the_runs_are_not_known() -> None:
    (pending,) = shown()
    assert doing(pending, None) == ("Not known: the state database is away", None)
    assert doing(pending, KnownRuns([])) == ("Asks for backup once it fires", None)
    bad, _ = shown(bad=5.0)
    assert doing(bad, None) == ("Nothing it may do by itself: this is for people", None)


def test_an_alert_about_an_action_does_not_ask_for_it() -> None:
    store, engine = make_engine("groups: [{name: g, rules: [{alert: Failing, expr: failed > 1}]}]")
    store.land("test", NOW, [(Labels({"__name__": "failed", "action": "refresh"}), 2.0)])
    engine.evaluate_all(NOW)
    (alert,) = shown_alerts(engine.groups())
    assert doing(alert, KnownRuns([])) == ("Nothing it may do by itself: this is for people", None)


def test_the_life_of_an_alert_in_order() -> None:
    entry = LedgerView(1, NOW + 601, "asked", "r1", "qa", "backup", "anna", {})
    (alert,) = shown(minutes=10)
    events = timeline(alert, [entry])
    assert [(event.at, event.what) for event in events] == [
        (NOW, "Its condition held for the first time: it was pending"),
        (NOW + 600, "It fires"),
        (NOW + 601, "asked"),
    ]
    assert (events[2].who, events[2].run_id) == ("anna", "r1")
    (pending,) = shown(minutes=3)
    assert [event.what for event in timeline(pending, [])] == ["Its condition holds: it is pending"]
