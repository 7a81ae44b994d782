# mypy: allow-untyped-calls
# prometheus-client publishes types, but not for every function
"""What the engine tells about itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from daemon.actions.events import ActionEvent
from daemon.actions.request import Result


@dataclass(frozen=True, slots=True)
class Standing:
    """As of the last sweep: active runs by environment and state, of those that wait for people the oldest, and whether
    an action on an environment is left to people.

    `asked_at` is in unix seconds; `stopped` None: it is not known whether actions are stopped.
    """

    runs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    asked_at: Mapping[str, float] = field(default_factory=dict)
    breakers: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    stopped: bool | None = None


class Source(Protocol):
    """What is told about; None where it is not known."""

    @property
    def standing(self) -> Standing: ...
    @property
    def state_up(self) -> bool | None: ...
    @property
    def members(self) -> int | None: ...
    @property
    def held(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class NotActing:
    """A daemon that does not act."""

    standing: Standing = field(default_factory=Standing)
    state_up: bool | None = None
    members: int | None = None
    held: int | None = None


class ActionMetrics(Collector):
    """A prometheus-client collector over what the engine last saw, and a count of what has ended."""

    def __init__(self) -> None:
        self._source: Source = NotActing()
        self._ended: dict[tuple[str, Result], int] = {}

    def attach(self, source: Source, actions: Iterable[str]) -> None:
        """Tell about this; outcomes of `actions` are counted from 0 on: what others ask for must not make series."""
        self._source = source
        self._ended = {(name, result): 0 for name in actions for result in Result}

    def count(self, event: ActionEvent) -> None:
        place = (event.run.action, event.result)
        if event.result is not None and place in self._ended:
            self._ended[event.run.action, event.result] += 1

    def collect(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("custode_actions", "Finished actions by outcome.", labels=["action", "outcome"])
        for (action, result), count in self._ended.items():
            ended.add_metric([action, result.value], count)
        yield ended
        runs = GaugeMetricFamily("custode_action_runs", "Runs that have not ended.", labels=["environment", "state"])
        for place, number in self._source.standing.runs.items():
            runs.add_metric(list(place), number)
        yield runs
        asked = GaugeMetricFamily(
            "custode_action_approval_asked_timestamp_seconds",
            "Unix time since when the oldest unanswered question to people waits, in seconds.",
            labels=["environment"],
        )
        for environment, at in self._source.standing.asked_at.items():
            asked.add_metric([environment], at)
        yield asked
        yield from self._about_safety()

    def _about_safety(self) -> Iterator[Metric]:
        open_ = GaugeMetricFamily(
            "custode_action_breaker_open",
            "Whether the action did not help too often on the environment and is left to people (1) or not (0).",
            labels=["environment", "action"],
        )
        for place, opened in self._source.standing.breakers.items():
            open_.add_metric(list(place), float(opened))
        yield open_
        for name, text, value in (
            ("actions_stopped", "Whether the global stop switch is on (1) or not (0).", self._source.standing.stopped),
            ("state_up", "Whether the state database can be used (1) or not (0).", self._source.state_up),
            ("members", "Daemons that share the state database.", self._source.members),
            ("environments_held", "Environments that this daemon looks after.", self._source.held),
        ):
            family = GaugeMetricFamily(f"custode_{name}", text)
            if value is not None:
                family.add_metric([], float(value))
            yield family
