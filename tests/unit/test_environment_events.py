"""What runs have measured and how they ended, and which alerts there are, for people; pure."""

from __future__ import annotations

from typing import Any

from actions import Plan
from daemon.actions.request import Result, Source
from daemon.actions.views import Run, RunState
from daemon.views.events import action_lines, alert_lines, measured
from rules import AlertView, Labels, State

NOW = 1_700_000_000.0
DOCS = {"datname": "app", "schemaname": "public", "relname": "docs"}
HNSW = DOCS | {"indexrelname": "docs_hnsw"}


def run(**fields: Any) -> Run:
    values: dict[str, Any] = {
        "id": "r1",
        "key": "k",
        "source": Source.PERSON,
        "environment": "qa",
        "action": "probe_recall",
        "object": "docs",
        "parameters": {},
        "requested_by": "ada",
        "requested_at": NOW,
        "reason": "",
        "alert": None,
        "state": RunState.ENDED,
    }
    return Run(**(values | fields))


def test_what_runs_have_measured_by_index() -> None:
    plan = Plan("probe", ("search",), objects=({**HNSW, "oid": 5},))
    runs = [run(plan=plan, after={"recall_ratio": 1.0}, ended_at=NOW), run(plan=plan), run(after={"recall_ratio": 1.0})]
    assert [(one.index, one.run_id, one.at) for one in measured(runs)] == [
        (("app", "public", "docs", "docs_hnsw"), "r1", NOW)
    ]


def test_a_run_tells_how_it_ended_or_what_it_waits_for() -> None:
    ended = run(result=Result.NOT_FIXED, outcome="still firing")
    waits = run(state=RunState.QUEUED, parked="another run is at work")
    assert [(one.state, one.result, one.outcome) for one in action_lines([ended, waits])] == [
        ("ended", "not_fixed", "still firing"),
        ("queued", None, "another run is at work"),
    ]


def alert(name: str, severity: str, state: State, where: str = "qa") -> AlertView:
    labels = Labels({"alertname": name, "environment": where, "severity": severity})
    return AlertView(name, labels, {"summary": f"{name}!"}, 1.0, state, NOW, None, None, None)


def test_alerts_of_the_environment_the_firing_and_severe_first() -> None:
    found = alert_lines(
        [
            alert("Waits", "critical", State.PENDING),
            alert("Odd", "strange", State.FIRING),
            alert("Low", "info", State.FIRING),
            alert("Bad", "critical", State.FIRING),
            alert("Over", "critical", State.RESOLVED),
            alert("Watchdog", "none", State.FIRING),
            alert("Elsewhere", "critical", State.FIRING, "prod"),
        ],
        "qa",
    )
    assert [(one.name, one.summary) for one in found] == [
        ("Bad", "Bad!"),
        ("Low", "Low!"),
        ("Odd", "Odd!"),
        ("Waits", "Waits!"),
    ]
