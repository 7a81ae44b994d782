# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""What pushing to Alertmanagers tells about itself, under the names that Prometheus has for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(slots=True)
class Pushed:
    """Of one Alertmanager: alerts sent, failed and dropped; how many wait; whether it took the last batch."""

    sent: int = 0
    errors: int = 0
    dropped: int = 0
    waiting: int = 0
    up: bool | None = None
    seconds: float = 0.0  # that the last batch took


class PushMetrics(Collector):
    """A prometheus-client collector."""

    def __init__(self) -> None:
        self.of: dict[str, Pushed] = {}
        self.held = 0
        self._capacity = 0

    def attach(self, urls: Iterable[str], capacity: int) -> None:
        self.of = {url: Pushed() for url in urls}
        self._capacity = capacity

    def collect(self) -> Iterator[Metric]:
        for name, text, counts in (
            ("sent", "Alerts that the Alertmanager took.", {url: one.sent for url, one in self.of.items()}),
            ("errors", "Alerts that could not be sent.", {url: one.errors for url, one in self.of.items()}),
            (
                "dropped",
                "Alerts given up: refused, or too many waited.",
                {u: one.dropped for u, one in self.of.items()},
            ),
        ):
            counter = CounterMetricFamily(f"custode_notifications_{name}", text, labels=["alertmanager"])
            for url, count in counts.items():
                counter.add_metric([url], count)
            yield counter
        up = {url: float(one.up) for url, one in self.of.items() if one.up is not None}
        for name, text, values in (
            ("notifications_queue_length", "Alerts that wait to be sent.", {u: o.waiting for u, o in self.of.items()}),
            (
                "notifications_latency_seconds",
                "Time that the last batch took.",
                {u: o.seconds for u, o in self.of.items()},
            ),
            ("alertmanager_up", "Whether the Alertmanager took the last batch (1) or not (0).", up),
        ):
            gauge = GaugeMetricFamily(f"custode_{name}", text, labels=["alertmanager"])
            for url, value in values.items():
                gauge.add_metric([url], value)
            yield gauge
        for name, text, value in (
            ("queue_capacity", "Alerts that may wait for one Alertmanager.", self._capacity),
            ("alertmanagers_discovered", "Alertmanagers that are configured.", len(self.of)),
            ("held", "Alerts that do not page yet, because an action works on them.", self.held),
        ):
            yield GaugeMetricFamily(f"custode_notifications_{name}", text, value=value)
