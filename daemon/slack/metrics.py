"""What Custode counts about Slack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class SlackMetrics(Collector):
    """Nothing is exported before Slack is configured; `connected` and `pong_at` are None without Socket Mode."""

    def __init__(self) -> None:
        self.used = False
        self.connected: bool | None = None
        self.pong_at: float | None = None
        self.waiting: int | None = None
        self._clicks: Counter[tuple[str, str]] = Counter()

    def count(self, kind: str, decision: str) -> None:
        self._clicks[kind, decision] += 1

    def collect(self) -> Iterator[Metric]:
        clicks = CounterMetricFamily(
            "custode_slack_clicks", "Clicks on buttons in Slack, by what came of them.", labels=["button", "decision"]
        )
        for labels, count in self._clicks.items():
            clicks.add_metric(list(labels), count)
        yield clicks
        for name, text, value in (
            ("socket_connected", "Whether Slack can send clicks over Socket Mode (1) or not (0).", self.connected),
            ("last_pong_timestamp_seconds", "Unix time of Slack's last sign of life, in seconds.", self.pong_at),
            ("threads_waiting", "Threads of which Slack does not show the latest yet.", self.waiting),
        ):
            family = GaugeMetricFamily(f"custode_slack_{name}", text)
            if value is not None and self.used:
                family.add_metric([], float(value))
            yield family
