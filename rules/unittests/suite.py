"""What a file in the format of promtool's unit tests holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rules.labels import Labels
from rules.unittests.notation import Run


@dataclass(frozen=True, slots=True)
class InputSeries:
    labels: Labels
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """Labels without alertname, and annotations, as people expect them; an expected empty label is never there."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AlertCase:
    """The alerts of one name that shall be firing `eval_time` seconds after the start, and no others."""

    line: int
    eval_time: float
    alertname: str
    expected: tuple[ExpectedAlert, ...]


@dataclass(frozen=True, slots=True)
class ExpectedSample:
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class ExprCase:
    """What an expression shall yield `eval_time` seconds after the start."""

    line: int
    eval_time: float
    expr: str
    expected: tuple[ExpectedSample, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One of a file's tests: series, and what is expected of rules and expressions. Times in seconds."""

    name: str
    line: int
    interval: float  # between the samples of input series
    start: float  # unix seconds
    series: tuple[InputSeries, ...]
    alerts: tuple[AlertCase, ...]
    exprs: tuple[ExprCase, ...]
    external_labels: Mapping[str, str]
    external_url: str

    @property
    def length(self) -> float:
        """Seconds to the last moment that is asked about."""
        return max([0.0, *(case.eval_time for case in self.alerts), *(case.eval_time for case in self.exprs)])

    def moments(self, interval: float) -> int:
        """How many times an interval begins from the start to the last moment that is asked about."""
        return round(self.length * 1000) // round(interval * 1000) + 1

    @property
    def samples(self) -> int:
        """How many samples land."""
        most = self.moments(self.interval)
        return sum(min(most, sum(run.count for run in series.runs)) for series in self.series)


@dataclass(frozen=True, slots=True)
class Suite:
    """One file. `missing` are the patterns that no rule file matches."""

    file: str
    rule_files: tuple[Path, ...]
    missing: tuple[str, ...]
    evaluation_interval: float  # seconds
    group_order: tuple[str, ...]
    fuzzy: bool
    scenarios: tuple[Scenario, ...]
