"""The rule engine: evaluates groups on their interval, and alert rules at once when a batch lands that they read.

Callers pass the time in unix seconds. Nothing here waits, reads a clock or raises for what data or rules do. One thread
at a time may call what evaluates or changes; what only shows may be called from any.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rules import snapshots
from rules.alerts import ACTIVE, Alert, State
from rules.labels import Labels
from rules.model import Group
from rules.running import ENVIRONMENT, Lasting, Running, RunningAlert, Surroundings, Transition, start
from rules.store import LOOKBACK, SampleStore
from rules.templates import Context
from rules.views import AlertView, GroupView, RuleView, view_alerts, view_group, view_rule


@dataclass(frozen=True, slots=True)
class Saved:
    """The alerts of an environment by rule, as they were when they were last looked at, at `at`; now it is `now`."""

    alerts: Mapping[str, Iterable[Alert]]
    at: float
    now: float


class RunningGroup:
    """A group at work, and what is known of its evaluations on its interval. Durations in seconds."""

    def __init__(self, group: Group, rules: list[Running]) -> None:
        self.group = group
        self.rules = rules
        self.due_at: float | None = None
        self.evaluated_at: float | None = None
        self.duration = 0.0
        self.iterations = 0
        self.missed = 0
        self.samples = 0

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

    def evaluate(self, around: Surroundings, now: float) -> Iterator[list[Transition]]:
        """Evaluate the rules in order, one a step, all at the one time.

        An alert rule that a batch evaluated since knows more than was known at that time: it is left as it is.
        """
        return self._steps(around, now, [rule.record.evaluations for rule in self.rules])

    def _steps(self, around: Surroundings, now: float, counts: list[int]) -> Iterator[list[Transition]]:
        spent = 0.0
        for rule, count in zip(self.rules, counts, strict=True):
            if rule.record.evaluations != count:
                yield []
                continue
            started = around.timer()
            transitions = rule.evaluate(around, now)
            spent += around.timer() - started
            yield transitions
        self.evaluated_at, self.duration = now, spent
        self.samples = sum(rule.record.samples for rule in self.rules)
        self.iterations += 1

    def take_over(self, old: RunningGroup) -> None:
        """Go on where the same group was before a reload."""
        self.evaluated_at, self.duration = old.evaluated_at, old.duration
        self.iterations, self.missed, self.samples = old.iterations, old.missed, old.samples
        if old.group.interval == self.group.interval:
            self.due_at = old.due_at


class RuleEngine:
    """Groups of rules over a sample store, which it tells how much history to keep.

    `timer` measures how long evaluations take, in seconds; `context` makes what templates see at a time.
    """

    def __init__(
        self,
        store: SampleStore,
        groups: Sequence[Group] = (),
        *,
        timer: Callable[[], float] = time.perf_counter,
        context: Callable[[float], Context] | None = None,
    ) -> None:
        self._around = Surroundings(store, timer)
        if context is not None:
            self._around.context = context
        self._groups: list[RunningGroup] = []
        self._readers: dict[str | None, list[tuple[int, RunningAlert]]] = {}
        self._now = 0.0
        self.reload(groups)

    def reload(self, groups: Sequence[Group]) -> list[Transition]:
        """Run these groups from now on. Rules that stay (file, group, name, labels) keep their alerts.

        Returns the transitions to inactive of alerts whose rules are gone, at the time of the last evaluation.
        """
        before = {rule.key: rule for rule in self._rules()}
        times = {one.group.key: one for one in self._groups}
        started = [RunningGroup(group, rules) for group, rules in zip(groups, start(groups), strict=True)]
        for running in started:
            known = times.get(running.group.key)
            if known is not None:
                running.take_over(known)
            for rule in running.rules:
                old = before.pop(rule.key, None)
                if isinstance(rule, RunningAlert) and isinstance(old, RunningAlert):
                    rule.take_over(old)
        self._groups = started
        self._wire()
        transitions = []
        for gone in before.values():
            self._around.store.drop(gone.source)
            transitions += gone.give_up(self._around, self._now) if isinstance(gone, RunningAlert) else []
        return transitions

    def _wire(self) -> None:
        windows: dict[str, float] = {}
        self._readers = {}
        for place, rule in enumerate(self._rules()):
            query, offset = rule.rule.query, rule.group.query_offset
            needed = {**dict.fromkeys(query.names or () if offset else (), LOOKBACK), **query.windows}
            for name, seconds in needed.items():
                windows[name] = max(seconds + offset, windows.get(name, 0.0))
            if isinstance(rule, RunningAlert) and not query.ranged and not offset:
                for reads in (None,) if query.names is None else query.names:
                    self._readers.setdefault(reads, []).append((place, rule))
        self._around.store.retain(windows)

    def _rules(self) -> Iterable[Running]:
        return (rule for group in self._groups for rule in group.rules)

    def due(self, now: float) -> list[Iterator[list[Transition]]]:
        """The evaluations of the groups that are due, to be stepped through one after the other, each to its end."""
        self._now = now = round(now, 3)
        self._around.store.expire(now)
        return [running.evaluate(self._around, now) for running in self._groups if running.due(now)]

    def evaluate(self, now: float) -> list[Transition]:
        """Evaluate the groups that are due."""
        return [change for steps in self.due(now) for changes in steps for change in changes]

    def evaluate_all(self, now: float) -> list[Transition]:
        """Evaluate all groups, due or not."""
        self._now = now = round(now, 3)
        runs = [running.evaluate(self._around, now) for running in self._groups]
        return [change for steps in runs for changes in steps for change in changes]

    def on_batch(self, names: Iterable[str], now: float) -> list[Transition]:
        """Evaluate at once the alert rules that read one of these metrics, which have just landed, and no history."""
        return [change for changes in self.on_batches(names, now) for change in changes]

    def on_batches(self, names: Iterable[str], now: float) -> Iterator[list[Transition]]:
        """The same, to be stepped through rule by rule."""
        self._now = now = round(now, 3)
        rules = dict(found for name in (*names, None) for found in self._readers.get(name, ()))
        return (rules[place].evaluate(self._around, now) for place in sorted(rules))

    def alerts(self) -> list[AlertView]:
        """All alerts that are pending, firing or lately resolved."""
        context = self._around.context(self._now)
        return [view for rule in self._rules() for view in view_alerts(rule, context)]

    def states(self) -> list[State]:
        """The state of every alert."""
        return [
            alert.state for rule in self._rules() if isinstance(rule, RunningAlert) for alert in rule.alerts.values()
        ]

    def rules(self) -> list[RuleView]:
        return [view_rule(rule) for rule in self._rules()]

    def groups(self, *, rules: bool = True) -> list[GroupView]:
        """The groups, with their rules and these with their alerts, or without."""
        context = self._around.context(self._now)
        return [view_group(one, context, rules=rules) for one in self._groups]

    def is_active(self, labels: Labels) -> bool:
        """Whether an alert with these labels is pending or firing."""
        found = (rule.alerts.get(labels) for rule in self._rules() if isinstance(rule, RunningAlert))
        return any(alert is not None and alert.state in ACTIVE for alert in found)

    def take_unsaved(self) -> list[Lasting]:
        """What changed since the last call and must outlive the process; in order."""
        unsaved, self._around.unsaved = self._around.unsaved, []
        return unsaved

    def lasting(self) -> list[Lasting]:
        """All that must outlive the process."""
        rules = (rule for rule in self._rules() if isinstance(rule, RunningAlert))
        return [Lasting(rule.key, labels, alert) for rule in rules for labels, alert in rule.alerts.items()]

    def restore(
        self, saved: Mapping[str, Iterable[Alert]], stopped_at: float, now: float, *, grace: float = LOOKBACK
    ) -> None:
        """Go on from the alerts of each rule as they were at `stopped_at`. The time since then counts for no `for`.

        For `grace` seconds an alert that is not seen again does not end, as its samples may not have landed yet.
        Rules that are no longer loaded are ignored.
        """
        for rule in self._rules():
            if isinstance(rule, RunningAlert) and rule.key in saved:
                resumed = (snapshots.resume(alert, stopped_at, now, grace) for alert in saved[rule.key])
                rule.alerts = {alert.labels: alert for alert in resumed}

    def release(self, environment: str) -> None:
        """Another engine judges `environment` from now on: its alerts and their `for` are dropped, nobody is told."""
        self._around.elsewhere.add(environment)
        for rule in self._rules():
            if isinstance(rule, RunningAlert):
                kept = {labels: one for labels, one in rule.alerts.items() if labels.value(ENVIRONMENT) != environment}
                if len(kept) < len(rule.alerts):
                    rule.keep(kept, self._around)

    def adopt(self, environment: str, saved: Saved | None = None, *, grace: float = LOOKBACK) -> None:
        """Judge `environment` from now on, where it is given from the alerts that another engine `saved`.

        What was seen here since the start stays, and goes on with the earlier of the two beginnings; what was only
        remembered here gives way. For `grace` seconds an alert that is not seen again does not end. Rules that are not
        loaded are ignored, as are alerts of other environments.
        """
        self._around.elsewhere.discard(environment)
        if saved is None:
            return
        for rule in self._rules():
            if isinstance(rule, RunningAlert):
                theirs = [
                    snapshots.resume(alert, saved.at, saved.now, grace)
                    for alert in saved.alerts.get(rule.key, ())
                    if alert.labels.value(ENVIRONMENT) == environment
                ]
                rule.keep(_merged(rule.alerts, theirs, environment), self._around)


def _merged(ours: Mapping[Labels, Alert], theirs: Iterable[Alert], environment: str) -> dict[Labels, Alert]:
    merged = {labels: alert for labels, alert in ours.items() if labels.value(ENVIRONMENT) != environment}
    seen = {
        labels: alert
        for labels, alert in ours.items()
        if labels not in merged and alert.state in ACTIVE and alert.held_until is None
    }
    for alert in theirs:
        other = seen.get(alert.labels)
        older = other is None or (alert.state in ACTIVE and _standing(alert) < _standing(other))
        if older:
            merged[alert.labels] = alert if other is None else replace(alert, held_until=None)
            seen.pop(alert.labels, None)
    return {**merged, **seen}


def _standing(alert: Alert) -> tuple[bool, float]:
    """Sorts what fires before what does not, then by its beginning."""
    return alert.state is not State.FIRING, alert.active_at
