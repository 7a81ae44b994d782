"""Alerts as JSON-able data and back, so that they go on after a restart as if it had not been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rules.alerts import ACTIVE, Alert, State
from rules.errors import RuleError
from rules.labels import Labels

_TIMES = ("active_at", "fired_at", "keep_firing_since", "resolved_at", "held_until")


def dump(alert: Alert) -> dict[str, Any]:
    times = {name: getattr(alert, name) for name in _TIMES if getattr(alert, name) is not None}
    return {
        "labels": dict(alert.labels.pairs),
        "sample": dict(alert.sample.pairs),
        "value": repr(alert.value),  # JSON has no NaN and no Inf
        "state": str(alert.state),
        **times,
    }


def load(data: Mapping[str, Any]) -> Alert:
    """Raises RuleError where it is no alert as `dump` writes them."""
    try:
        times = {name: float(data[name]) for name in _TIMES if name in data}
        labels, sample = Labels(data["labels"]), Labels(data["sample"])
        return Alert(labels, sample, float(data["value"]), State(data["state"]), **times)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RuleError(f"not an alert: {error!r}") from error


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
        held_until=now + grace if alert.state in ACTIVE else None,
    )
