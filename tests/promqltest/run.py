"""Runs a script against the engine and reports every eval."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rules import Answer, Dialect, Query, QueryError, SampleStore
from rules.labels import Labels
from rules.store import STALE
from tests.promqltest import scope
from tests.promqltest.comparison import (
    MismatchError,
    almost_equal,
    check_annotations,
    check_answer,
    check_failure,
    check_vector,
)
from tests.promqltest.pinned import pin
from tests.promqltest.script import Eval, Load, parse
from tests.promqltest.series import Mark, Pairs

DIALECT = Dialect(experimental=True, delayed_names=True)
_OF_THE_QUERY = re.compile(r"(?:start|end|range|step)\(\)")  # differ between an instant and a range query


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one eval: `why` is the reason of a skip or what is wrong."""

    line: int
    expr: str
    state: Literal["passed", "failed", "skipped"]
    why: str = ""
    experimental: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.expr}\n    {self.why}"


def run(text: str) -> list[Outcome]:
    """The outcome of every eval of a script. Raises ScriptError where the script cannot be read."""
    loaded = _Loaded()
    outcomes: list[Outcome] = []
    for command in parse(text):
        if isinstance(command, Load):
            loaded.load(command)
        elif isinstance(command, Eval):
            outcomes.append(_judge(loaded, command))
        else:
            loaded = _Loaded()
    return outcomes


def counts(outcomes: Sequence[Outcome]) -> Counter[str]:
    """How many passed, failed, and were skipped for each reason."""
    states = Counter(f"skipped: {outcome.why}" if outcome.state == "skipped" else outcome.state for outcome in outcomes)
    states["of these experimental"] = sum(outcome.experimental for outcome in outcomes if outcome.state == "passed")
    return states


class _Loaded:
    """The series loaded so far. The store is filled when an eval asks for it."""

    def __init__(self) -> None:
        self.native: set[Pairs] = set()
        self.started: set[Pairs] = set()
        self._samples: dict[Pairs, dict[float, float]] = {}
        self._store: SampleStore | None = None

    def load(self, command: Load) -> None:
        self._store = None
        for series in command.series:
            samples = self._samples.setdefault(series.labels, {})
            for step, value in enumerate(series.values):
                if value is Mark.STALE or isinstance(value, float):
                    samples[round(step * command.step, 3)] = value if isinstance(value, float) else STALE
            if series.native:
                self.native.add(series.labels)
            if series.started:
                self.started.add(series.labels)
            if command.nhcb and (made := _converted(series.labels)):
                self.native.add(made)

    @property
    def store(self) -> SampleStore:
        if self._store is None:
            self._store = SampleStore(floor=math.inf)
            for labels, samples in self._samples.items():
                times = sorted(samples)
                self._store.fill(Labels(dict(labels)), times, [samples[time] for time in times])
        return self._store


def _converted(labels: Pairs) -> Pairs | None:
    """The native histogram that `load_with_nhcb` makes of a classic histogram's series; None for other series."""
    known = dict(labels)
    base = re.fullmatch(r"(.+)_(?:bucket|count|sum)", known.get("__name__", ""))
    if base is None:
        return None
    kept = {**{name: value for name, value in known.items() if name != "le"}, "__name__": base[1]}
    return tuple(sorted(kept.items()))


def _judge(loaded: _Loaded, asked: Eval) -> Outcome:
    named = scope.experimental(asked.expr)
    reason = scope.unavailable(asked, loaded.native, loaded.started)
    if reason is None and named and (refused := _refusal(asked.expr)):
        reason = f"experimental: {', '.join(named)}" if refused else None
    if reason is not None:
        return Outcome(asked.line, asked.expr, "skipped", reason, bool(named))
    try:
        if asked.is_range:
            _run_range(loaded.store, asked)
        else:
            _run_instant(loaded.store, asked)
    except MismatchError as mismatch:
        return Outcome(asked.line, asked.expr, "failed", str(mismatch), bool(named))
    except Exception as error:  # noqa: BLE001 - a crash of the engine is the outcome of this eval, not of the whole file
        return Outcome(asked.line, asked.expr, "failed", f"crashed: {type(error).__name__}: {error}", bool(named))
    return Outcome(asked.line, asked.expr, "passed", experimental=bool(named))


def _refusal(expr: str) -> bool:
    """Experimental language may be refused, but what is accepted must be right."""
    try:
        Query.compile(expr, DIALECT)
    except QueryError:
        return True
    return False


def _run_range(store: SampleStore, asked: Eval) -> None:
    try:
        answer = Query.compile(asked.expr, DIALECT).range(store, asked.start, asked.end, asked.step)
    except QueryError as error:
        _expected_failure(asked, error)
        return
    _check(asked, answer)


def _run_instant(store: SampleStore, asked: Eval) -> None:
    """As upstream: also with every selector pinned to the time, at other times, and each of these as a range query."""
    _run_at(store, asked, asked.expr, asked.end)
    pinned = pin(asked.expr, asked.end)
    if pinned is None:
        return
    now = asked.end
    for time in (-10 * now, 0.0, int(now * 200) / 1000, now, 10 * now) if now else (-1.0, 0.0, 1.0):
        try:
            _run_at(store, asked, pinned, time)
        except MismatchError as mismatch:
            raise MismatchError(f"{mismatch} [as {pinned} at {time:g}]") from mismatch


def _run_at(store: SampleStore, asked: Eval, expr: str, time: float) -> None:
    try:
        query = Query.compile(expr, DIALECT)
        answer = query.instant(store, time)
    except QueryError as error:
        _expected_failure(asked, error)
        return
    _check(asked, answer)
    if asked.string is not None or asked.is_matrix or _OF_THE_QUERY.search(expr) or asked.expects("ordered"):
        return
    try:
        ranged = query.range(store, time - 60, time + 60, 60)
        _check_middle(asked, answer, ranged, time)
    except (MismatchError, QueryError) as error:
        raise MismatchError(f"{error} [as a range query around {time:g}]") from error


def _check_middle(asked: Eval, answer: Answer, ranged: Answer, time: float) -> None:
    """The step in the middle of a range query is the instant query's answer."""
    middle = [
        (labels.pairs, float(values[step]))
        for labels, times, values in ranged.matrix
        for step in np.flatnonzero(np.abs(times - time) < 0.0005)
    ]
    if answer.kind != "scalar":
        check_vector(asked, middle)
    elif len(middle) != 1:
        raise MismatchError(f"expected one series, got {middle}")
    elif not almost_equal(answer.scalar, middle[0][1]):
        raise MismatchError(f"expected scalar {answer.scalar!r}, got {middle[0][1]!r}")


def _check(asked: Eval, answer: Answer) -> None:
    if asked.expects("fail"):
        raise MismatchError("expected an error, got none")
    check_annotations(asked, answer)
    check_answer(asked, answer)


def _expected_failure(asked: Eval, error: QueryError) -> None:
    if not asked.expects("fail"):
        raise MismatchError(f"error: {error}") from error
    check_failure(asked, error.message)
