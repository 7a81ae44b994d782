"""Between scraping and the rule engine: lands batches, evaluates at once and on time, remembers alerts on disk."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import structlog

from daemon.scrape import Batch
from daemon.status import PROMISES, Alert, Fact
from daemon.telemetry import Telemetry
from rules import (
    LOOKBACK,
    AlertView,
    Group,
    Labels,
    Query,
    RuleEngine,
    RuleError,
    RuleView,
    SampleStore,
    State,
    Transition,
)

log = structlog.get_logger()

TICK_SECONDS = 1.0
REMEMBER_SECONDS = 15.0
Publish = Callable[[Transition], None]

_UP = "custode_up"
_compile = lru_cache(maxsize=256)(Query.compile)
SHOWN = frozenset(
    name
    for promise in PROMISES
    for expression in (promise.made, *promise.facts.values())
    for name in _compile(expression).names or ()
)


class Alerting:
    """The rules at work; which, is told by `reload`.

    `journal` is the file in which alerts outlive the process, `now` gives unix seconds, `publish` hears of every
    transition and must not block.
    """

    def __init__(self, *, publish: Publish, journal: Path, now: Callable[[], float], telemetry: Telemetry) -> None:
        self._store = SampleStore()
        self._engine = RuleEngine(self._store, (), also=SHOWN)
        self._publish = publish
        self._journal = journal
        self._now = now
        self._telemetry = telemetry
        self._remembered_at = 0.0
        self._changed = asyncio.Event()
        self._intervals: Mapping[str, float] = {}
        self._counted = (0, 0)

    def restore(self) -> None:
        """Continue where the last process stopped; a journal that cannot be read is logged and left behind."""
        try:
            self._engine.restore(json.loads(self._journal.read_text(encoding="utf-8")), self._now())
        except FileNotFoundError:
            return
        except (OSError, ValueError, RuleError) as error:
            log.warning("alerts_start_anew", journal=str(self._journal), error=str(error))

    def reload(self, groups: Sequence[Group], intervals: Mapping[str, float]) -> None:
        """Evaluate these groups from now on. `intervals` says how many seconds apart each collector's batches come."""
        self._intervals = intervals
        self._tell(self._engine.reload(groups))

    @property
    def wanted(self) -> frozenset[str] | None:
        """The metrics to land; None: all."""
        return self._engine.metric_names()

    def land(self, batch: Batch, samples: Sequence[tuple[Labels, float]], *, judge: bool) -> None:
        """Take the samples of a batch; to `judge` is to evaluate the rules that read them at once."""
        fresh_for = max(LOOKBACK, 3 * self._intervals.get(batch.collector, 0.0))
        own = [sample for sample in samples if sample[0].name != _UP]
        shared = [sample for sample in samples if sample[0].name == _UP]
        self._store.land(f"{batch.environment}/{batch.collector}", batch.started, own, fresh_for=fresh_for)
        # every collector tells it, but it is one series
        self._store.land(f"{batch.environment}/{_UP}", batch.started, shared, fresh_for=fresh_for)
        if judge:
            self._tell(self._engine.on_batch({labels.name for labels, _ in samples}, self._now()))

    def forget(self, environment: str) -> None:
        """An environment is guarded no longer."""
        for source in [source for source in self._store.sources() if source.startswith(f"{environment}/")]:
            self._store.drop(source)

    async def run(self, not_ready: Callable[[], str | None]) -> None:
        """Evaluate every group at its interval unless `not_ready`, and write the journal, until cancelled."""
        try:
            while True:
                if not_ready() is None:
                    self.tick()
                if self._changed.is_set() or self._now() - self._remembered_at >= REMEMBER_SECONDS:
                    self._changed.clear()
                    await asyncio.to_thread(self._remember, self._snapshot())
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), TICK_SECONDS)
        finally:
            self._remember(self._snapshot())

    def tick(self) -> None:
        """Evaluate the groups that are due."""
        self._tell(self._engine.evaluate(self._now()))
        self._measure()

    def rules(self) -> list[RuleView]:
        return self._engine.rules()

    def is_active(self, labels: Mapping[str, str]) -> bool:
        """Whether the alert with these labels is pending or firing."""
        wanted = Labels(labels)
        return any(alert.labels is wanted for alert in self._active())

    def firing(self) -> list[AlertView]:
        return [view for view in self._active() if view.state is State.FIRING]

    def alerts(self, *, patient: bool = True) -> list[Alert]:
        """Pending and firing alerts, as the status table needs them. Not `patient`, pending ones count as firing."""
        return [
            Alert(
                name=view.name,
                environment=view.labels.value("environment"),
                promise=view.labels.value("promise"),
                severity=view.labels.value("severity"),
                firing=view.state is State.FIRING or not patient,
                since=view.active_at,
                summary=view.annotations.get("summary", view.name),
            )
            for view in self._active()
        ]

    def query(self, expression: str) -> dict[str, Fact]:
        """The answer of an instant query, one element an environment (of several, any)."""
        answer = _compile(expression).evaluate(self._store, self._now())
        return {labels.value("environment"): Fact(value, labels) for labels, value in answer}

    def _active(self) -> list[AlertView]:
        return [view for view in self._engine.alerts() if view.state in (State.PENDING, State.FIRING)]

    def _tell(self, transitions: Sequence[Transition]) -> None:
        for transition in transitions:
            self._publish(transition)
        if transitions:
            self._changed.set()

    def _snapshot(self) -> str:
        self._remembered_at = self._now()
        return json.dumps(self._engine.snapshot())

    def _remember(self, text: str) -> None:
        try:
            _replace(self._journal, text)
        except OSError as error:
            log.error("alerts_not_remembered", journal=str(self._journal), error=str(error))  # noqa: TRY400 - no trace

    def _measure(self) -> None:
        views = self._engine.rules()
        evaluations, failures = sum(view.evaluations for view in views), sum(view.failures for view in views)
        # rules that a reload removed take their counts along: a counter only grows
        self._telemetry.rule_evaluations.inc(max(0, evaluations - self._counted[0]))
        self._telemetry.rule_evaluation_failures.inc(max(0, failures - self._counted[1]))
        self._counted = (evaluations, failures)
        for group in self._engine.groups():
            self._telemetry.rule_group_last_duration.labels(group.name).set(group.duration)
        active = self._active()
        for state in (State.PENDING, State.FIRING):
            self._telemetry.alerts.labels(state.value).set(sum(view.state is state for view in active))


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all, also across a loss of power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
