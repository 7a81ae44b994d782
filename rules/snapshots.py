"""Alerts as JSON-able data and back, so that they go on after a restart as if it had not been."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from rules.alerts import Alert, State
from rules.errors import RuleError
from rules.labels import Labels

_VERSION = 1
_TIMES = ("active_at", "fired_at", "keep_firing_since", "resolved_at", "held_until")


def write(at: float | None, rules: Mapping[str, Iterable[Alert]]) -> dict[str, Any]:
    """The alerts of each rule, by its key, as of the last evaluation."""
    alerts = {key: [_dump(alert) for alert in found] for key, found in rules.items()}
    return {"version": _VERSION, "at": at, "rules": alerts}


def read(snapshot: object) -> tuple[float | None, dict[str, list[Alert]]]:
    """The time of the last evaluation, and the alerts by rule. Raises RuleError where it is no snapshot of ours."""
    version = snapshot.get("version") if isinstance(snapshot, Mapping) else None
    if not isinstance(snapshot, Mapping) or version != _VERSION:
        raise RuleError(
            f"the snapshot of alerts has version {version!r}, not {_VERSION}", hint="delete it: alerts then start anew"
        )
    try:
        at = None if snapshot["at"] is None else float(snapshot["at"])
        return at, {key: [_load(one) for one in alerts] for key, alerts in snapshot["rules"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RuleError(
            f"the snapshot of alerts cannot be read: {error!r}", hint="delete it: alerts then start anew"
        ) from error


def _dump(alert: Alert) -> dict[str, Any]:
    times = {name: getattr(alert, name) for name in _TIMES if getattr(alert, name) is not None}
    return {
        "labels": dict(alert.labels.pairs),
        "sample": dict(alert.sample.pairs),
        "value": repr(alert.value),  # JSON has no NaN and no Inf
        "state": str(alert.state),
        **times,
    }


def _load(data: Mapping[str, Any]) -> Alert:
    times = {name: float(data[name]) for name in _TIMES if name in data}
    labels, sample = Labels(data["labels"]), Labels(data["sample"])
    return Alert(labels, sample, float(data["value"]), State(data["state"]), **times)


def resume(alert: Alert, stopped_at: float, now: float, grace: float) -> Alert:
    """The alert after a stop: the time in between counts for no `for`, and its absence means nothing for `grace`.

    The shift is that of Prometheus (rules/group.go, RestoreForState), without its limits on outage and `for`.
    """
    pause = max(0.0, now - stopped_at)
    since = alert.keep_firing_since
    return replace(
        alert,
        active_at=alert.active_at + (pause if alert.state == State.PENDING else 0.0),
        keep_firing_since=since + pause if since is not None else None,
        held_until=now + grace if alert.state in {State.PENDING, State.FIRING} else None,
    )
