"""The engine's state as people and programs see it: copies that stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from rules.alerts import State
from rules.labels import Labels
from rules.running import Health, Running, RunningAlert, label_texts
from rules.templates import Context

if TYPE_CHECKING:
    from rules.engine import RunningGroup


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert: pending, firing, or resolved in the last 15 minutes. Times in unix seconds.

    `sets` names the labels that its rule sets; the others come with the sample.
    """

    name: str
    labels: Labels
    annotations: Mapping[str, str]
    value: float
    state: State
    active_at: float
    fired_at: float | None
    resolved_at: float | None
    keep_firing_since: float | None
    sets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule and its health. Times in unix seconds, durations in seconds; labels and annotations as written."""

    kind: Literal["alert", "record"]
    name: str
    group: str
    file: str
    line: int
    query: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    hold: float
    keep_firing: float
    health: Health
    last_error: str | None
    evaluated_at: float | None
    duration: float
    evaluations: int
    failures: int


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group and its last evaluation on its interval. `missed` counts intervals that passed without one.

    `label` is how metrics call it, as Prometheus does: file and name, the file without its folders.
    """

    name: str
    label: str
    file: str
    interval: float
    limit: int
    evaluated_at: float | None
    duration: float
    iterations: int
    missed: int
    samples: int  # elements of all rules' last results
    evaluations: int
    failures: int
    size: int  # rules
    rules: tuple[tuple[RuleView, tuple[AlertView, ...]], ...]


def view_alerts(rule: Running, context: Context) -> Iterator[AlertView]:
    if isinstance(rule, RunningAlert):
        for alert in rule.alerts.values():
            yield AlertView(
                rule.rule.name,
                alert.labels,
                rule.annotations(alert, context),
                alert.value,
                alert.state,
                alert.active_at,
                alert.fired_at,
                alert.resolved_at,
                alert.keep_firing_since,
                rule.sets,
            )


def view_rule(rule: Running) -> RuleView:
    record, alert = rule.record, rule.rule if isinstance(rule, RunningAlert) else None
    return RuleView(
        kind="alert" if alert else "record",
        name=rule.rule.name,
        group=rule.group.name,
        file=rule.group.file,
        line=rule.rule.line,
        query=rule.rule.query.text,
        labels={**dict(rule.group.labels), **label_texts(rule.rule)},
        annotations={name: one.source for name, one in alert.annotations} if alert else {},
        hold=alert.hold if alert else 0.0,
        keep_firing=alert.keep_firing if alert else 0.0,
        health=record.health,
        last_error=record.last_error,
        evaluated_at=record.evaluated_at,
        duration=record.duration,
        evaluations=record.evaluations,
        failures=record.failures,
    )


def view_group(running: RunningGroup, context: Context, *, rules: bool = True) -> GroupView:
    shown = tuple((view_rule(rule), tuple(view_alerts(rule, context))) for rule in running.rules) if rules else ()
    return GroupView(
        name=running.group.name,
        label=f"{PurePath(running.group.file).name};{running.group.name}",
        file=running.group.file,
        interval=running.group.interval,
        limit=running.group.limit,
        evaluated_at=running.evaluated_at,
        duration=running.duration,
        iterations=running.iterations,
        missed=running.missed,
        samples=running.samples,
        evaluations=sum(rule.record.evaluations for rule in running.rules),
        failures=sum(rule.record.failures for rule in running.rules),
        size=len(running.rules),
        rules=shown,
    )
