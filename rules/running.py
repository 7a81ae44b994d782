"""A rule at work: its last evaluation, its health, and for an alert rule its alerts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from rules.alerts import ACTIVE, Alert, Change, Element, State, Timing, advance, cleared, exceeds
from rules.errors import RuleError, StoreFullError, TemplateError
from rules.labels import NAME, Labels
from rules.model import AlertRule, Group, RecordRule, Rule, short_names
from rules.store import LOOKBACK, SampleStore
from rules.templates import Context, Template
from rules.texts import Texts

Result = Sequence[tuple[Labels, float]]
Health = Literal["unknown", "ok", "err"]
TIMEOUT = 10.0  # seconds that one evaluation may take
_PAUSE = 30.0  # times what an evaluation took that was stopped, before the rule is tried again
_LONGEST_PAUSE = 600.0  # seconds
_NOTHING_KNOWN = Context()
ENVIRONMENT = "environment"  # the label by which alerts belong to an environment
_Told = tuple[State, Labels, Labels]  # an alert's labels in the two metrics about alerts, and in which state


@dataclass(frozen=True, slots=True)
class Transition:
    """An alert changed its state at `at` (unix seconds)."""

    labels: Labels
    annotations: Mapping[str, str]
    value: float
    before: State
    after: State
    at: float


@dataclass(frozen=True, slots=True)
class Lasting:
    """An alert of the rule `key` as it is to be remembered; None: it is over."""

    key: str
    labels: Labels
    alert: Alert | None


@dataclass(slots=True)
class Record:
    """What is known of a rule's evaluations. Times in unix seconds, `duration` in seconds."""

    health: Health = "unknown"
    last_error: str | None = None
    evaluated_at: float | None = None
    duration: float = 0.0
    evaluations: int = 0
    failures: int = 0
    samples: int = 0  # elements of the last result
    paused_until: float = 0.0


@dataclass(slots=True)
class Surroundings:
    """What rules are evaluated in. `context` makes what templates see at a time."""

    store: SampleStore
    timer: Callable[[], float]
    context: Callable[[float], Context] = lambda _: _NOTHING_KNOWN
    unsaved: list[Lasting] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)  # environments that another engine judges


class Running(ABC):
    """One rule of a running group. `key` identifies it across reloads and restarts."""

    rule: Rule

    def __init__(self, group: Group, key: str) -> None:
        self.group = group
        self.key = key
        self.record = Record()

    @property
    def source(self) -> str:
        """Under which the rule's own series land in the store."""
        return f"rule:{self.key}"

    def evaluate(self, around: Surroundings, now: float) -> list[Transition]:
        """Evaluate at `now`. A failure is recorded, changes nothing and harms no other rule."""
        record = self.record
        if now < record.paused_until <= now + _LONGEST_PAUSE:
            record.failures += 1
            record.evaluations += 1
            return []
        started = around.timer()
        transitions: list[Transition] = []
        try:
            at = now - self.group.query_offset
            result = self.rule.query.evaluate(around.store, at, timeout=TIMEOUT, timer=around.timer)
            record.samples = len(result)
            transitions, record.last_error = self.apply(result, around, now)
            record.health = "err" if record.last_error else "ok"
        except RuleError as error:
            record.health, record.last_error = "err", error.message
        except Exception as error:  # noqa: BLE001 - the boundary of one rule: the others must go on
            record.health, record.last_error = "err", f"{type(error).__name__}: {error}"
        record.failures += record.health == "err"
        record.evaluations += 1
        record.evaluated_at, record.duration = now, around.timer() - started
        pause = min(_PAUSE * record.duration, _LONGEST_PAUSE) if record.duration > TIMEOUT else 0.0
        record.paused_until = now + pause
        return transitions

    @abstractmethod
    def apply(self, result: Result, around: Surroundings, now: float) -> tuple[list[Transition], str | None]:
        """Take over the elements of a successful evaluation; returns also what is wrong with them."""


class RunningRecord(Running):
    rule: RecordRule

    def __init__(self, rule: RecordRule, group: Group, key: str) -> None:
        super().__init__(group, key)
        self.rule = rule
        self._set = {**dict(group.labels), **dict(rule.labels), NAME: rule.name}
        self._known: dict[Labels, Labels] = {}

    def apply(self, result: Result, around: Surroundings, now: float) -> tuple[list[Transition], str | None]:
        limit, known = self.group.limit, self._known
        if limit and len(result) > limit:
            raise RuleError(f"exceeded limit of {limit} with {len(result)} series")
        self._known = {sample: known.get(sample) or sample.updated(self._set) for sample, _ in result}
        if len(set(self._known.values())) < len(result):
            raise RuleError("vector contains metrics with the same labelset after applying rule labels")
        series = [(self._known[sample], value) for sample, value in result]
        fresh_for = max(LOOKBACK, 2 * self.group.interval)
        around.store.land(self.source, now - self.group.query_offset, series, fresh_for=fresh_for)
        return [], None


class RunningAlert(Running):
    rule: AlertRule

    def __init__(self, rule: AlertRule, group: Group, key: str) -> None:
        super().__init__(group, key)
        self.rule = rule
        self.alerts: Mapping[Labels, Alert] = {}  # replaced as a whole, so that another thread may read it
        self._timing = Timing(rule.hold, rule.keep_firing)
        own = {name for name, _ in rule.labels}
        # a group's labels are templates too, for its alerts
        self._labels = (*((name, _template(text)) for name, text in group.labels if name not in own), *rule.labels)
        self.sets = frozenset(name for name, _ in self._labels)
        self._constant = all(template.constant is not None for _, template in self._labels)
        self._known: dict[Labels, Labels] = {}
        self._templates = dict(rule.annotations)
        # what templates ask of the store is only to be had where rules are evaluated: such texts are made there
        self._asks = any("query" in template.source for template in self._templates.values())
        self._texts: Mapping[Labels, dict[str, str]] = {}
        self._told: dict[Labels, _Told] = {}

    def apply(self, result: Result, around: Surroundings, now: float) -> tuple[list[Transition], str | None]:
        context = around.context(now)
        known = self._known.get
        elements = [
            Element(known(sample) or self._label(sample, value, context), sample, value) for sample, value in result
        ]
        self._known = {element.sample: element.labels for element in elements} if self._constant else {}
        if around.elsewhere:
            elements = [one for one in elements if one.labels.value(ENVIRONMENT) not in around.elsewhere]
        silent = around.store.unknown(self.rule.query.names)
        alerts, changes = advance(self.alerts, elements, now, self._timing, lambda alert: _is_about(alert, silent))
        problem = exceeds(alerts, self.group.limit)
        if problem is not None:
            alerts, changes = {}, cleared(self.alerts)
        self._note(alerts, around)
        self.alerts = alerts
        if self._asks:
            self._texts = {labels: dict(self._expanded(alert, context)) for labels, alert in alerts.items()}
        try:
            self._land(around.store, now)
        except StoreFullError as error:
            problem = problem or error.message
        return [self._transition(change, now, context) for change in changes], problem

    def _label(self, sample: Labels, value: float, context: Context) -> Labels:
        own = {name: one.expand(sample, value, context) for name, one in self._labels}
        return sample.updated({**own, NAME: "", "alertname": self.rule.name})

    def annotations(self, alert: Alert, context: Context) -> Mapping[str, str]:
        """The alert's texts; may be called from any thread."""
        if not self._asks:
            return self._expanded(alert, context)
        return self._texts.get(alert.labels) or self._expanded(alert, replace(context, query=None))

    def _expanded(self, alert: Alert, context: Context) -> Texts:
        return Texts(self._templates, alert.sample, alert.value, context)

    def take_over(self, old: RunningAlert) -> None:
        """Go on with the alerts of the same rule before a reload."""
        self.alerts, self._texts = old.alerts, old._texts

    def keep(self, alerts: Mapping[Labels, Alert], around: Surroundings) -> None:
        """Go on with these alerts, of which nobody is told."""
        self._note(alerts, around)
        self.alerts = alerts

    def give_up(self, around: Surroundings, now: float) -> list[Transition]:
        """The transitions when the rule ends."""
        changes = cleared(self.alerts)
        self._note({}, around)
        self.alerts = {}
        return [self._transition(change, now, around.context(now)) for change in changes]

    def _note(self, alerts: Mapping[Labels, Alert], around: Surroundings) -> None:
        for labels, alert in alerts.items():
            old = self.alerts.get(labels)
            if old is None or old.lasting != alert.lasting:
                around.unsaved.append(Lasting(self.key, labels, alert))
        around.unsaved += [Lasting(self.key, labels, None) for labels in self.alerts if labels not in alerts]

    def _transition(self, change: Change, now: float, context: Context) -> Transition:
        alert = change.alert
        texts = dict(self.annotations(alert, context))
        return Transition(alert.labels, texts, alert.value, change.before, change.after, now)

    def _land(self, store: SampleStore, now: float) -> None:
        """Prometheus's own two metrics about alerts."""
        known, self._told = self._told, {}
        active: list[Alert] = []
        for labels, alert in self.alerts.items():
            if alert.state in ACTIVE:
                told = known.get(labels)
                if told is None or told[0] != alert.state:
                    told = _told(labels, alert.state)
                self._told[labels] = told
                active.append(alert)
        sets = [told for _, told, _ in self._told.values()] + [told for _, _, told in self._told.values()]
        values = np.array([1.0] * len(active) + [alert.active_at for alert in active])
        fresh_for = max(LOOKBACK, 2 * self.group.interval)
        store.land_columns(self.source, now, sets, values, fresh_for=fresh_for)


def _template(text: str) -> Template:
    try:
        return Template.parse(text)
    except TemplateError as error:  # the loader does not know which of a group's labels are for alerts
        return Template.parse("{{`" + f"<error expanding template: {error.message}>".replace("`", "'") + "`}}")


def _told(labels: Labels, state: State) -> _Told:
    return (
        state,
        labels.updated({NAME: "ALERTS", "alertstate": str(state)}),
        labels.updated({NAME: "ALERTS_FOR_STATE"}),
    )


def _is_about(alert: Alert, silent: Sequence[Mapping[str, str]]) -> bool:
    """Whether the alert is about something that could not be read."""
    return any(all(alert.labels.value(name) == value for name, value in about.items()) for about in silent)


def label_texts(rule: Rule) -> dict[str, str]:
    """A rule's labels as written in the file."""
    return {name: value if isinstance(value, str) else value.source for name, value in rule.labels}


def start(groups: Sequence[Group]) -> list[list[Running]]:
    """The rules of each group, ready to be evaluated, with distinct keys.

    A key holds the file's name without its folders, as folders move, unless it takes these to tell two files apart; of
    rules that are the same in all, also a number.
    """
    seen: Counter[str] = Counter()
    files = short_names(group.file for group in groups)
    started: list[list[Running]] = []
    for group in groups:
        running: list[Running] = []
        for rule in group.rules:
            labels = ",".join(f"{name}={text}" for name, text in sorted(label_texts(rule).items()))
            base = ";".join((files[group.file], group.name, rule.name, labels))
            key = f"{base};{seen[base]}"
            seen[base] += 1
            running.append(
                RunningAlert(rule, group, key) if isinstance(rule, AlertRule) else RunningRecord(rule, group, key)
            )
        started.append(running)
    return started
