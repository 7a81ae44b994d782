"""The rule engine: evaluates groups on their interval, and alert rules at once when a batch lands that they read.

Callers pass the time in unix seconds. Nothing here waits, reads a clock or raises for what data or rules do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rules import snapshots
from rules.alerts import State
from rules.labels import Labels
from rules.model import Group
from rules.running import Health, Running, RunningAlert, Transition, label_texts, start
from rules.store import LOOKBACK, SampleStore


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert as people see it: pending, firing, or resolved in the last 15 minutes. Times in unix seconds."""

    name: str
    labels: Labels
    annotations: Mapping[str, str]
    value: float
    state: State
    active_at: float
    fired_at: float | None
    resolved_at: float | None


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule and its health. Times in unix seconds, durations in seconds."""

    kind: Literal["alert", "record"]
    name: str
    group: str
    file: str
    line: int
    query: str
    labels: Mapping[str, str]
    hold: float
    health: Health
    last_error: str | None
    evaluated_at: float | None
    duration: float
    evaluations: int
    failures: int


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group's last evaluation on its interval. `missed` counts intervals that passed without one."""

    name: str
    file: str
    interval: float
    evaluated_at: float | None
    duration: float
    missed: int


@dataclass(slots=True)
class _RunningGroup:
    group: Group
    rules: list[Running]
    due_at: float | None = None
    evaluated_at: float | None = None
    duration: float = 0.0
    missed: int = 0

    def due(self, now: float) -> bool:
        """Whether to evaluate now; then the next time is set. A clock set back makes it due."""
        interval = self.group.interval
        if self.due_at is None or self.due_at > now + interval:
            self.due_at = now + interval
            return True
        if now < self.due_at:
            return False
        passed = int((now - self.due_at) // interval)
        self.missed += passed
        self.due_at += (passed + 1) * interval
        return True


class RuleEngine:
    """Groups of rules over a sample store, which it tells what to keep.

    `also` are metrics to keep that no rule reads, for other queries on the store. `timer` measures how long
    evaluations take, in seconds.
    """

    def __init__(
        self,
        store: SampleStore,
        groups: Sequence[Group],
        *,
        also: Iterable[str] = (),
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._store = store
        self._also = frozenset(also)
        self._timer = timer
        self._groups: list[_RunningGroup] = []
        self._readers: dict[str, list[RunningAlert]] = {}
        self._now: float | None = None
        self.reload(groups)

    def reload(self, groups: Sequence[Group]) -> list[Transition]:
        """Run these groups from now on. Rules that stay (file, group, name, labels) keep their alerts.

        Returns the transitions to inactive of alerts whose rules are gone, at the time of the last evaluation.
        """
        before = {rule.key: rule for rule in self._rules()}
        times = {one.group.key: one for one in self._groups}
        self._groups = [_RunningGroup(group, rules) for group, rules in zip(groups, start(groups), strict=True)]
        for running in self._groups:
            known = times.get(running.group.key)
            if known is not None and known.group.interval == running.group.interval:
                running.due_at, running.evaluated_at = known.due_at, known.evaluated_at
        for rule in self._rules():
            old = before.pop(rule.key, None)
            if isinstance(rule, RunningAlert) and isinstance(old, RunningAlert):
                rule.alerts = old.alerts
        self._wire()
        now = self._now or 0.0
        transitions = []
        for gone in before.values():
            self._store.drop(gone.source)
            transitions += gone.give_up(now) if isinstance(gone, RunningAlert) else []
        return transitions

    def _wire(self) -> None:
        windows: dict[str, float] = {}
        self._readers = {}
        for rule in self._rules():
            query = rule.rule.query
            offset = rule.group.query_offset
            needed = {**dict.fromkeys(query.names or () if offset else (), LOOKBACK), **query.windows}
            for name, seconds in needed.items():
                windows[name] = max(seconds + offset, windows.get(name, 0.0))
            if isinstance(rule, RunningAlert) and query.instant and not offset:
                for name in query.names or ():
                    self._readers.setdefault(name, []).append(rule)
        self._store.wanted(self.metric_names(), windows)

    def metric_names(self) -> frozenset[str] | None:
        """The metrics that the rules read, and those asked for; the others need not be landed. None: all are needed."""
        names = set(self._also)
        for rule in self._rules():
            if rule.rule.query.names is None:
                return None
            names |= rule.rule.query.names
        return frozenset(names)

    def _rules(self) -> Iterable[Running]:
        return (rule for group in self._groups for rule in group.rules)

    def evaluate(self, now: float) -> list[Transition]:
        """Evaluate the groups that are due."""
        self._now = now
        transitions: list[Transition] = []
        for running in self._groups:
            if running.due(now):
                started = self._timer()
                for rule in running.rules:
                    transitions += rule.evaluate(self._store, now, self._timer)
                running.evaluated_at, running.duration = now, self._timer() - started
        return transitions

    def on_batch(self, names: Iterable[str], now: float) -> list[Transition]:
        """Evaluate at once the alert rules that read one of these metrics, which have just landed, and no history."""
        self._now = now
        rules = {id(rule): rule for name in names for rule in self._readers.get(name, ())}
        return [change for rule in rules.values() for change in rule.evaluate(self._store, now, self._timer)]

    def alerts(self) -> list[AlertView]:
        """All alerts that are pending, firing or lately resolved."""
        return [
            AlertView(
                rule.rule.name,
                alert.labels,
                rule.annotations(alert),
                alert.value,
                alert.state,
                alert.active_at,
                alert.fired_at,
                alert.resolved_at,
            )
            for rule in self._rules()
            if isinstance(rule, RunningAlert)
            for alert in rule.alerts.values()
        ]

    def rules(self) -> list[RuleView]:
        return [_view(rule) for rule in self._rules()]

    def groups(self) -> list[GroupView]:
        return [
            GroupView(one.group.name, one.group.file, one.group.interval, one.evaluated_at, one.duration, one.missed)
            for one in self._groups
        ]

    def snapshot(self) -> dict[str, Any]:
        """All alerts as JSON-able data, for `restore`."""
        rules = (rule for rule in self._rules() if isinstance(rule, RunningAlert) and rule.alerts)
        return snapshots.write(self._now, {rule.key: rule.alerts.values() for rule in rules})

    def restore(self, snapshot: object, now: float, *, grace: float = LOOKBACK) -> None:
        """Go on from a snapshot. The time since it was taken counts for no `for`.

        For `grace` seconds an alert that is not seen again does not end, as its samples may not have landed yet.
        Rules that are no longer loaded are ignored. Raises RuleError where it is no snapshot; then nothing changes.
        """
        stopped_at, saved = snapshots.read(snapshot)
        for rule in self._rules():
            if isinstance(rule, RunningAlert) and rule.key in saved:
                stopped = now if stopped_at is None else stopped_at
                resumed = (snapshots.resume(alert, stopped, now, grace) for alert in saved[rule.key])
                rule.alerts = {alert.labels: alert for alert in resumed}


def _view(rule: Running) -> RuleView:
    record = rule.record
    return RuleView(
        kind="alert" if isinstance(rule, RunningAlert) else "record",
        name=rule.rule.name,
        group=rule.group.name,
        file=rule.group.file,
        line=rule.rule.line,
        query=rule.rule.query.text,
        labels=label_texts(rule.rule),
        hold=rule.rule.hold if isinstance(rule, RunningAlert) else 0.0,
        health=record.health,
        last_error=record.last_error,
        evaluated_at=record.evaluated_at,
        duration=record.duration,
        evaluations=record.evaluations,
        failures=record.failures,
    )
