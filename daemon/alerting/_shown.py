"""What the status table needs of alerts."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.alertmanager import fingerprint
from daemon.status import Alert
from rules import AlertView, State

FOR_MACHINES = "none"  # the severity of alerts that no person needs to hear of, such as the one that always fires


def shown(alerts: Iterable[AlertView], *, patient: bool) -> list[Alert]:
    """Those for people. Not `patient`, pending ones count as firing."""
    return [
        Alert(
            name=view.name,
            environment=view.labels.value("environment"),
            promise=view.labels.value("promise"),
            severity=view.labels.value("severity"),
            firing=view.state is State.FIRING or not patient,
            since=view.active_at,
            summary=view.annotations.get("summary", view.name),
            fingerprint=fingerprint(view.labels),
        )
        for view in alerts
        if view.labels.value("severity") != FOR_MACHINES
    ]
