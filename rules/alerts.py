"""What becomes of alerts from one evaluation to the next: a pure function of their state, the elements and the time.

The order of decisions is that of Prometheus's rules/alerting.go (AlertingRule.Eval).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rules.errors import RuleError
from rules.labels import Labels

RESOLVED_RETENTION = 15 * 60.0  # seconds


class State(StrEnum):
    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


ACTIVE = frozenset({State.PENDING, State.FIRING})


@dataclass(frozen=True, slots=True)
class Timing:
    """A rule's `for` and `keep_firing_for`, in seconds."""

    hold: float = 0.0
    keep_firing: float = 0.0


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the expression's result: `labels` are the alert's own, `sample` those of the element."""

    labels: Labels
    sample: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that is or was active. Times in unix seconds."""

    labels: Labels
    sample: Labels  # the element's labels, from which templates are expanded
    value: float
    state: State
    active_at: float
    fired_at: float | None = None
    keep_firing_since: float | None = None
    resolved_at: float | None = None
    held_until: float | None = None  # restored and not seen again yet: until then its absence means nothing

    @property
    def lasting(self) -> tuple[object, ...]:
        """What must outlive the process; the value does not."""
        return self.state, self.active_at, self.fired_at, self.keep_firing_since, self.resolved_at


@dataclass(frozen=True, slots=True)
class Change:
    """An alert that changed its state; `alert` is as it is afterwards."""

    alert: Alert
    before: State
    after: State


Alerts = Mapping[Labels, Alert]


def advance(
    previous: Alerts,
    elements: Sequence[Element],
    now: float,
    timing: Timing,
    unknown: Callable[[Alert], bool] = lambda _: False,
) -> tuple[dict[Labels, Alert], list[Change]]:
    """The alerts after an evaluation at `now`, and those that changed their state.

    Not to be called where the evaluation failed, so that a failure changes nothing. An alert that is `unknown` because
    what it is about could not be read does not end by not being found. Raises RuleError for two elements with the same
    labels.
    """
    found: dict[Labels, Element] = {}
    for element in elements:
        if element.labels in found:
            raise RuleError("vector contains metrics with the same labelset after applying alert labels")
        found[element.labels] = element

    alerts: dict[Labels, Alert] = {}
    changes: list[Change] = []
    for labels in {**previous, **found}:
        old = previous.get(labels)
        new = _seen(old, found[labels], now, timing) if labels in found else _unseen(old, now, timing, unknown)
        before = old.state if old else State.INACTIVE
        after = new.state if new else State.INACTIVE
        if new is not None:
            alerts[labels] = new
        shown = new or old
        if before != after and shown is not None and not (before == State.RESOLVED and after == State.INACTIVE):
            changes.append(Change(replace(shown, state=after), before, after))
    return alerts, changes


def exceeds(alerts: Alerts, limit: int) -> str | None:
    """What is wrong where more alerts are active than the group allows (0: any number)."""
    active = sum(alert.state in ACTIVE for alert in alerts.values())
    return f"exceeded limit of {limit} with {active} alerts" if limit and active > limit else None


def cleared(alerts: Alerts) -> list[Change]:
    """The changes when all alerts are given up at once."""
    active = [alert for alert in alerts.values() if alert.state in ACTIVE]
    return [Change(replace(alert, state=State.INACTIVE), alert.state, State.INACTIVE) for alert in active]


def _seen(old: Alert | None, element: Element, now: float, timing: Timing) -> Alert:
    if old is None or old.state == State.RESOLVED:
        alert = Alert(element.labels, element.sample, element.value, State.PENDING, active_at=now)
    else:
        alert = replace(_not_ahead(old, now, timing), sample=element.sample, value=element.value)
        alert = replace(alert, keep_firing_since=None, held_until=None)
    held_enough = now - alert.active_at >= timing.hold
    if alert.state == State.PENDING and held_enough:
        return replace(alert, state=State.FIRING, fired_at=now)
    if alert.state == State.FIRING and not held_enough:  # a reload has raised `for`
        return replace(alert, state=State.PENDING, fired_at=None)
    return alert


def _not_ahead(alert: Alert, now: float, timing: Timing) -> Alert:
    """The alert with times that are not in the future, which they are once the clock was set back."""
    if alert.fired_at is not None and alert.fired_at > now:
        return replace(alert, active_at=min(alert.active_at, now - timing.hold), fired_at=now)
    return replace(alert, active_at=now) if alert.active_at > now else alert


def _unseen(old: Alert | None, now: float, timing: Timing, unknown: Callable[[Alert], bool]) -> Alert | None:
    if old is None or old.state == State.RESOLVED:
        return old if old and now - (old.resolved_at or 0.0) <= RESOLVED_RETENTION else None
    if unknown(old) or (old.held_until is not None and now < old.held_until):
        return old
    if old.state == State.PENDING:
        return None
    if timing.keep_firing:
        since = old.keep_firing_since if old.keep_firing_since is not None else now
        if now - since < timing.keep_firing:
            return replace(old, keep_firing_since=since)
    return replace(old, state=State.RESOLVED, resolved_at=now)
