"""Cases and situations for the guard: all is well in them, but for what a test says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from actions import Target
from daemon.actions.guard import (
    Case,
    Decision,
    Ended,
    Ground,
    History,
    Limits,
    Refused,
    Running,
    Situation,
    Wait,
    decide,
)
from daemon.actions.request import Request, Result, Source
from daemon.actions.views import StopSwitch
from fleet.policy import Policy, Risk

SUNDAY_3_UTC = datetime(2026, 8, 2, 3, tzinfo=ZoneInfo("UTC")).timestamp()  # inside the default window
MONDAY_NOON_UTC = datetime(2026, 8, 3, 12, tzinfo=ZoneInfo("UTC")).timestamp()
ALERT = {"alertname": "BackupOverdue", "environment": "qa"}
DATABASES = frozenset({"app"})


def case(risk: Risk = Risk.SAFE, source: Source = Source.ALERT, target: Target | None = None, **fields: Any) -> Case:
    values: dict[str, Any] = {"environment": "qa", "action": "backup", "key": "k1", "requested_by": "somebody"}
    values |= {"at": MONDAY_NOON_UTC, "source": source, "alert": ALERT if source is Source.ALERT else None}
    return Case(Request(**(values | fields)), risk, target or Target())


def situation(**fields: Any) -> Situation:
    well = Situation(
        policy=Policy(),
        limits=Limits(at_once_environment=1),
        now=MONDAY_NOON_UTC,
        history=History(),
        switch=StopSwitch(False),
        operator_refusal=None,
        conflicts={},
        alert_active=None,
    )
    return replace(well, **fields)


def ended(*results: Result, age: float = 0.0) -> History:
    """A history of such runs, newest first, the newest `age` seconds ago."""
    runs = [Ended(f"r{i}", result, MONDAY_NOON_UTC - age - 10_000 * i) for i, result in enumerate(results)]
    return History(ended=runs)


def running(environment: str = "qa", action: str = "backup", target: Target | None = None) -> Running:
    on = target or Target()
    return Running("r9", environment, action, on.object, on.databases, on.store)


def ground(what: Case | None = None, **fields: Any) -> Ground | None:
    """Why not; None where it is allowed."""
    decision: Decision = decide(what or case(), situation(**fields))
    return decision.ground if isinstance(decision, Refused | Wait) else None


def reason(what: Case | None = None, **fields: Any) -> str:
    """The words for people."""
    decision = decide(what or case(), situation(**fields))
    assert isinstance(decision, Refused | Wait), "it was allowed"
    return decision.reason
