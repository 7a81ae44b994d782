# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""What the outbox tells about itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.outbox._rows import Waiting


class OutboxMetrics(Collector):
    """A prometheus-client collector; counts are of this process, what waits is of all daemons of the fleet."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[str, int]] = {}
        self.standing: Mapping[str, Waiting] = {}
        self.spooled, self.dropped = 0, 0

    def attach(self, notifiers: Iterable[str]) -> None:
        """Count for these from 0 on."""
        self._counts = {name: {"sent": 0, "failed": 0, "dead": 0} for name in notifiers}

    def count(self, notifier: str, what: str, by: int = 1) -> None:
        """`what`: sent, failed (and tried again) or dead. What others gave up for a notifier of theirs is not ours."""
        if notifier in self._counts:
            self._counts[notifier][what] += by

    def collect(self) -> Iterator[Metric]:
        for what, text in (
            ("sent", "Notifications that the notifier took."),
            ("failed", "Attempts to send a notification that failed."),
            ("dead", "Notifications that were given up."),
        ):
            counter = CounterMetricFamily(f"custode_outbox_{what}", text, labels=["notifier"])
            for name, counts in self._counts.items():
                counter.add_metric([name], counts[what])
            yield counter
        waiting = GaugeMetricFamily(
            "custode_outbox_waiting", "Notifications that were not sent yet.", labels=["notifier"]
        )
        oldest = GaugeMetricFamily(
            "custode_outbox_oldest_timestamp_seconds",
            "Unix time of the oldest notification that was not sent yet, in seconds.",
            labels=["notifier"],
        )
        for name in {*self._counts, *self.standing}:
            standing = self.standing.get(name, Waiting())
            waiting.add_metric([name], standing.waiting)
            if standing.oldest is not None:
                oldest.add_metric([name], standing.oldest)
        yield waiting
        yield oldest
        yield GaugeMetricFamily(
            "custode_outbox_spooled",
            "Notifications in memory only, because the state database is away.",
            value=self.spooled,
        )
        yield CounterMetricFamily(
            "custode_outbox_dropped", "Notifications lost because the memory for them was full.", value=self.dropped
        )
