# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""What the rule engine tells about itself, with Prometheus's names under our prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.alerting._alerting import Alerting
from rules import GroupView, SampleStore, State

_Kind = Literal["counter", "gauge"]
_GROUP: tuple[tuple[_Kind, str, str, Callable[[GroupView], float | None]], ...] = (  # None: not known yet
    ("counter", "rule_evaluations", "Rules evaluated.", lambda one: one.evaluations),
    ("counter", "rule_evaluation_failures", "Rules whose evaluation failed.", lambda one: one.failures),
    ("counter", "rule_group_iterations", "Evaluations of the group.", lambda one: one.iterations),
    ("counter", "rule_group_iterations_missed", "Intervals without evaluation.", lambda one: one.missed),
    ("gauge", "rule_group_interval_seconds", "Interval of the group, in seconds.", lambda one: one.interval),
    (
        "gauge",
        "rule_group_last_duration_seconds",
        "Duration of the last evaluation of the group, in seconds.",
        lambda one: one.duration,
    ),
    (
        "gauge",
        "rule_group_last_evaluation_timestamp_seconds",
        "Unix time of the last evaluation of the group, in seconds.",
        lambda one: one.evaluated_at,
    ),
    (
        "gauge",
        "rule_group_last_evaluation_samples",
        "Elements of all results of the group's last evaluation.",
        lambda one: one.samples,
    ),
    ("gauge", "rule_group_rules", "Rules of the group.", lambda one: one.size),
)


class RuleMetrics(Collector):
    """A prometheus-client collector over the groups as they are; what a reload removed is gone."""

    def __init__(self) -> None:
        self._alerting: Alerting | None = None
        self._store = SampleStore()

    def attach(self, alerting: Alerting, store: SampleStore) -> None:
        """Tell about these from now on; until then there are metrics without samples."""
        self._alerting, self._store = alerting, store

    def collect(self) -> Iterator[Metric]:
        groups = self._alerting.groups(rules=False) if self._alerting else []
        for kind, name, text, value in _GROUP:
            family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(
                f"custode_{name}", text, labels=["rule_group"]
            )
            for group in groups:
                figure = value(group)
                if figure is not None:
                    family.add_metric([group.label], figure)
            yield family
        states = self._alerting.states() if self._alerting else []
        alerts = GaugeMetricFamily("custode_alerts", "Alerts by state.", labels=["state"])
        for state in (State.PENDING, State.FIRING):
            alerts.add_metric([str(state)], states.count(state))
        yield alerts
        yield from self._about_store()

    def _about_store(self) -> Iterator[Metric]:
        store = self._store
        yield GaugeMetricFamily("custode_store_series", "Series in the sample store.", value=store.series)
        yield GaugeMetricFamily("custode_store_samples", "Samples that memory is taken for.", value=store.cells)
        yield GaugeMetricFamily("custode_store_limit_samples", "Samples that there is room for.", value=store.limit)
        refused = CounterMetricFamily(
            "custode_store_refused_batches", "Batches that there was no room for.", labels=["source"]
        )
        for source, count in self._alerting.refused.items() if self._alerting else ():
            refused.add_metric([source], count)
        yield refused
        yield GaugeMetricFamily(
            "custode_alert_journal_last_write_successful",
            "Whether the journal of alerts could last be written (1) or not (0).",
            value=float(self._alerting is None or self._alerting.journal_works),
        )
