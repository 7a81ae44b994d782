# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""The daemon's own metrics, in a prometheus-client registry of their own: few, and rendered when asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import prometheus_client as prometheus
from prometheus_client.openmetrics import exposition as openmetrics_exposition

import actions
from actions import Action
from daemon.actions.measured import Measured
from daemon.actions.metrics import ActionMetrics
from daemon.alerting import RuleMetrics
from daemon.alertmanager import PushMetrics
from daemon.outbox import OutboxMetrics
from daemon.slack.metrics import SlackMetrics
from daemon.web.access.errors import REFUSALS
from fleet.plugins import load_plugins
from rules import Labels

LAG_PROBE_SECONDS = 1.0
LAG_PROBES = 60


@dataclass(frozen=True, slots=True)
class Reload:
    """When the configuration was read that holds, in unix seconds; and why, when reading it failed after that."""

    read_at: float | None = None
    error: str | None = None
    failed_at: float | None = None


class Telemetry:
    """What Custode counts about itself. Others set these; `render` shows them."""

    def __init__(self) -> None:
        prometheus.disable_created_metrics()
        self.registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        prometheus.PlatformCollector(registry=registry)
        build = prometheus.Info("custode_build", "Version of Custode.", registry=registry)
        build.info({"version": version("custode")})
        self.rules = RuleMetrics()
        registry.register(self.rules)
        self.actions = ActionMetrics()
        registry.register(self.actions)
        self.measured = Measured(load_plugins(actions, Action))
        registry.register(self.measured)
        self.outbox = OutboxMetrics()
        registry.register(self.outbox)
        self.slack = SlackMetrics()
        registry.register(self.slack)
        self.pushed = PushMetrics()
        registry.register(self.pushed)
        self.webhooks = prometheus.Counter(
            "custode_webhook_events",
            "Events that others sent, by what became of them.",
            ["kind", "result"],
            registry=registry,
        )
        self._answers = prometheus.Counter(
            "custode_http_requests", "Requests over HTTP, by class of their status.", ["code"], registry=registry
        )
        self._refusals = prometheus.Counter(
            "custode_http_refusals",
            "Requests over HTTP that were refused, by why: their token, password, role, host or another site's page.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self._refusals.labels(reason)
        self.config_last_reload_successful = prometheus.Gauge(
            "custode_config_last_reload_successful",
            "Whether the last reload was taken over (1) or not (0).",
            registry=registry,
        )
        self.config_last_reload_success_timestamp = prometheus.Gauge(
            "custode_config_last_reload_success_timestamp_seconds",
            "Unix time of the last reload that was taken over, in seconds.",
            registry=registry,
        )
        self.event_loop_lag = prometheus.Gauge(
            "custode_event_loop_lag_seconds",
            "Largest delay of the event loop among its last 60 probes, one a second, in seconds.",
            registry=registry,
        )

        self.reload = Reload()

    def note_reload(self, at: float, error: str | None = None) -> None:
        """The configuration was read at `at` unix seconds; `error` is why it was not taken over, None where it was."""
        self.config_last_reload_successful.set(error is None)
        if error is not None:
            self.reload = replace(self.reload, error=error, failed_at=at)
            return
        self.reload = Reload(at)
        self.config_last_reload_success_timestamp.set(at)

    def count_answer(self, status: int) -> None:
        """A request over HTTP was answered."""
        self._answers.labels(f"{status // 100}xx").inc()

    def count_refusal(self, reason: str) -> None:
        """A request over HTTP was refused."""
        self._refusals.labels(reason).inc()

    def samples(self) -> list[tuple[Labels, float]]:
        """Our own metrics, for rules about Custode itself."""
        return [
            (Labels({"__name__": sample.name, **sample.labels}), float(sample.value))
            for family in self.registry.collect()
            for sample in family.samples
        ]

    def render(self, openmetrics: bool) -> bytes:
        """The registry in OpenMetrics 1.0 (with its `# EOF`) or in the text format 0.0.4."""
        generate = openmetrics_exposition.generate_latest if openmetrics else prometheus.generate_latest
        page: bytes = generate(self.registry)
        return page

    async def watch_event_loop(self, monotonic: Callable[[], float], every: float = LAG_PROBE_SECONDS) -> None:
        """Probe the event loop until cancelled: sleep, and see how much later than asked we are woken."""
        delays: deque[float] = deque(maxlen=LAG_PROBES)
        while True:
            due = monotonic() + every
            await asyncio.sleep(every)
            delays.append(max(0.0, monotonic() - due))
            self.event_loop_lag.set(max(delays))
