"""What happens in an environment: alerts that hold, and what was last done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from daemon.actions.views import Run
from daemon.alertmanager import fingerprint
from daemon.views.samples import INDEX
from daemon.views.vectors import Measured
from rules import AlertView, State

_SEVERITIES = ("critical", "warning", "info")
_FOR_MACHINES = "none"  # the severity of alerts that no person needs to hear of


@dataclass(frozen=True, slots=True)
class AlertLine:
    """A pending or firing alert. `since` is in unix seconds; `fingerprint` is that of its page."""

    fingerprint: str
    name: str
    severity: str
    state: str
    since: float
    summary: str


@dataclass(frozen=True, slots=True)
class ActionLine:
    """A run in short; moments are unix seconds. `outcome` says how it ended, in words, or what it waits for."""

    id: str
    action: str
    object: str
    state: str
    result: str | None
    outcome: str | None
    requested_by: str
    requested_at: float
    ended_at: float | None


def alert_lines(alerts: Iterable[AlertView], environment: str) -> list[AlertLine]:
    """Those of the environment, firing and severe ones first."""
    found = [
        AlertLine(
            fingerprint(one.labels),
            one.name,
            one.labels.value("severity"),
            one.state.value,
            one.active_at if one.fired_at is None else one.fired_at,
            one.annotations.get("summary", one.name),
        )
        for one in alerts
        if one.labels.value("environment") == environment
        and one.labels.value("severity") != _FOR_MACHINES
        and one.state in {State.PENDING, State.FIRING}
    ]
    return sorted(found, key=lambda one: (one.state != State.FIRING.value, _rank(one.severity), one.since))


def action_lines(runs: Iterable[Run]) -> list[ActionLine]:
    return [
        ActionLine(
            run.id,
            run.action,
            run.object,
            run.state.value,
            None if run.result is None else run.result.value,
            run.outcome or run.parked,
            run.requested_by,
            run.requested_at,
            run.ended_at,
        )
        for run in runs
    ]


def measured(runs: Iterable[Run]) -> list[Measured]:
    """What runs of probe_recall found, the newest first as they come."""
    return [
        Measured(
            tuple([str(run.plan.objects[0].get(label, "")) for label in INDEX]), run.id, run.ended_at, run.after or {}
        )
        for run in runs
        if run.plan is not None and run.plan.objects and run.after
    ]


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)
