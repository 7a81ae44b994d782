"""A rule at work: its last evaluation, its health, and for an alert rule its alerts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Literal

from rules.alerts import Alert, Change, Element, State, Timing, advance, cleared, exceeds
from rules.errors import RuleError
from rules.labels import NAME, Labels
from rules.model import AlertRule, Group, RecordRule, Rule
from rules.store import LOOKBACK, SampleStore

Result = Sequence[tuple[Labels, float]]
Health = Literal["unknown", "ok", "err"]


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert changed its state at `at` (unix seconds)."""

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    before: State
    after: State
    at: float


@dataclass(slots=True)
class Record:
    """What is known of a rule's evaluations. Times in unix seconds, `duration` in seconds."""

    health: Health = "unknown"
    last_error: str | None = None
    evaluated_at: float | None = None
    duration: float = 0.0
    evaluations: int = 0
    failures: int = 0


class Running(ABC):
    """One rule of a running group."""

    rule: Rule

    def __init__(self, group: Group, ordinal: int) -> None:
        self.group = group
        self.ordinal = ordinal  # which of several rules that have the same names and labels
        self.record = Record()

    @cached_property
    def key(self) -> str:
        """What identifies the rule across reloads and restarts; the file by its name only, as folders move."""
        labels = ",".join(f"{name}={text}" for name, text in sorted(label_texts(self.rule).items()))
        return ";".join((PurePath(self.group.file).name, self.group.name, self.rule.name, labels, str(self.ordinal)))

    @property
    def source(self) -> str:
        """Under which the rule's own series land in the store."""
        return f"rule:{self.key}"

    def evaluate(self, store: SampleStore, now: float, timer: Callable[[], float]) -> list[Transition]:
        """Evaluate at `now`. A failure is recorded, changes nothing and harms no other rule."""
        started, record = timer(), self.record
        transitions: list[Transition] = []
        try:
            result = self.rule.query.evaluate(store, now - self.group.query_offset)
            transitions, record.last_error = self.apply(result, store, now)
            record.health = "err" if record.last_error else "ok"
        except RuleError as error:
            record.health, record.last_error = "err", error.message
        except Exception as error:  # noqa: BLE001 - the boundary of one rule: the others must go on
            record.health, record.last_error = "err", f"{type(error).__name__}: {error}"
        record.failures += record.health == "err"
        record.evaluations += 1
        record.evaluated_at, record.duration = now, timer() - started
        return transitions

    @abstractmethod
    def apply(self, result: Result, store: SampleStore, now: float) -> tuple[list[Transition], str | None]:
        """Take over the elements of a successful evaluation; returns also what is wrong with them."""


class RunningRecord(Running):
    rule: RecordRule

    def __init__(self, rule: RecordRule, group: Group, ordinal: int) -> None:
        super().__init__(group, ordinal)
        self.rule = rule
        self._set = {**dict(group.labels), **dict(rule.labels), NAME: rule.name}
        self._known: dict[Labels, Labels] = {}

    def apply(self, result: Result, store: SampleStore, now: float) -> tuple[list[Transition], str | None]:
        limit, known = self.group.limit, self._known
        if limit and len(result) > limit:
            raise RuleError(f"exceeded limit of {limit} with {len(result)} series")
        self._known = {sample: known.get(sample) or sample.updated(self._set) for sample, _ in result}
        if len(set(self._known.values())) < len(result):
            raise RuleError("vector contains metrics with the same labelset after applying rule labels")
        series = [(self._known[sample], value) for sample, value in result]
        fresh_for = max(LOOKBACK, 2 * self.group.interval)
        store.land(self.source, now - self.group.query_offset, series, fresh_for=fresh_for)
        return [], None


class RunningAlert(Running):
    rule: AlertRule

    def __init__(self, rule: AlertRule, group: Group, ordinal: int) -> None:
        super().__init__(group, ordinal)
        self.rule = rule
        self.alerts: dict[Labels, Alert] = {}
        self._timing = Timing(rule.hold, rule.keep_firing)
        self._constant = all(template.constant is not None for _, template in rule.labels)
        self._known: dict[Labels, Labels] = {}

    def apply(self, result: Result, store: SampleStore, now: float) -> tuple[list[Transition], str | None]:
        elements = [Element(self._label(sample, value), sample, value) for sample, value in result]
        self._known = {element.sample: element.labels for element in elements} if self._constant else {}
        alerts, changes = advance(self.alerts, elements, now, self._timing)
        excess = exceeds(alerts, self.group.limit)
        if excess is not None:
            alerts, changes = {}, cleared(self.alerts)
        self.alerts = alerts
        self._land(store, now)
        return [self._transition(change, now) for change in changes], excess

    def _label(self, sample: Labels, value: float) -> Labels:
        known = self._known.get(sample)
        if known is not None:
            return known
        labels = {**dict(self.group.labels), **{name: one.expand(sample, value) for name, one in self.rule.labels}}
        return sample.updated({**labels, NAME: "", "alertname": self.rule.name})

    def annotations(self, alert: Alert) -> dict[str, str]:
        return {name: template.expand(alert.sample, alert.value) for name, template in self.rule.annotations}

    def give_up(self, now: float) -> list[Transition]:
        """The transitions when the rule ends."""
        return [self._transition(change, now) for change in cleared(self.alerts)]

    def _transition(self, change: Change, now: float) -> Transition:
        alert = change.alert
        return Transition(alert.labels, self.annotations(alert), alert.value, change.before, change.after, now)

    def _land(self, store: SampleStore, now: float) -> None:
        """Prometheus's own two metrics about alerts, where a rule reads them."""
        series: list[tuple[Labels, float]] = []
        active = [alert for alert in self.alerts.values() if alert.state in {State.PENDING, State.FIRING}]
        if store.wants("ALERTS"):
            series += [(alert.labels.updated({NAME: "ALERTS", "alertstate": alert.state}), 1.0) for alert in active]
        if store.wants("ALERTS_FOR_STATE"):
            series += [(alert.labels.updated({NAME: "ALERTS_FOR_STATE"}), alert.active_at) for alert in active]
        store.land(self.source, now, series, fresh_for=max(LOOKBACK, 2 * self.group.interval))


def label_texts(rule: Rule) -> dict[str, str]:
    """A rule's labels as written in the file."""
    return {name: value if isinstance(value, str) else value.source for name, value in rule.labels}


def start(groups: Sequence[Group]) -> list[list[Running]]:
    """The rules of each group, ready to be evaluated, with distinct keys."""
    seen: Counter[str] = Counter()
    started: list[list[Running]] = []
    for group in groups:
        running: list[Running] = []
        for rule in group.rules:
            identity = repr((PurePath(group.file).name, group.name, rule.name, sorted(label_texts(rule).items())))
            ordinal = seen[identity]
            if isinstance(rule, AlertRule):
                running.append(RunningAlert(rule, group, ordinal))
            else:
                running.append(RunningRecord(rule, group, ordinal))
            seen[identity] += 1
        started.append(running)
    return started
