"""One evaluation of an expression: where, when, in which dialect, and how much it may cost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rules.errors import QueryError
from rules.store import SampleStore

SAMPLES = 50_000_000  # Prometheus's query.max-samples; here all that are looked at, not only those held at once
_OVERHEAD = 20  # samples: what one node costs beside its values


@dataclass(frozen=True, slots=True)
class Dialect:
    """Whose PromQL it is.

    `compat` is the major version of Prometheus: in 2, ranges include their start and counters are extrapolated by the
    older rule. `experimental` allows the functions that Prometheus has behind a flag. `delayed_names` removes metric
    names at the end of an evaluation (Prometheus's feature promql-delayed-name-removal). `subquery_step` is that of
    subqueries that name none, in seconds.
    """

    compat: Literal[2, 3] = 3
    experimental: bool = False
    delayed_names: bool = False
    subquery_step: float = 60.0


@dataclass(slots=True)
class Evaluation:
    """What all nodes share. `start` and `end` in unix seconds; `timeout` in seconds of `timer`."""

    store: SampleStore
    dialect: Dialect
    start: float
    end: float
    samples: int = SAMPLES
    timeout: float = math.inf
    timer: Callable[[], float] = time.perf_counter
    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)
    _spent: int = 0
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.timer()

    def spend(self, samples: int) -> None:
        """Account for samples about to be looked at. Raises QueryError where it becomes too much or too long."""
        self._spent += samples + _OVERHEAD
        if self._spent > self.samples:
            raise QueryError("query processing would load too many samples into memory in query execution")
        if self.timer() - self._began > self.timeout:
            raise QueryError(f"query timed out in query execution after {self.timeout:g} s")

    def warn(self, text: str) -> None:
        self.warnings[f"PromQL warning: {text}"] = None

    def inform(self, text: str) -> None:
        self.infos[f"PromQL info: {text}"] = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a step, in unix seconds, of an evaluation."""

    evaluation: Evaluation
    time: float

    @property
    def store(self) -> SampleStore:
        return self.evaluation.store

    def at(self, time: float) -> Moment:
        return Moment(self.evaluation, time)
