"""Functions over a time range: rates of counters and statistics of gauges.

Formulas and edge cases are those of promql/functions.go in Prometheus 3 (extrapolatedRate, the *_over_time functions).
Each function sees the samples of series that share their timestamps: values[row, series] counts where present.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rules.promql.selectors import Selector, Window
from rules.promql.vector import Bools, Floats, Moment, Vector, nameless, remember

Answer = tuple[Floats, Bools]


@dataclass(frozen=True, slots=True)
class Range:
    """The half-open interval (start, end] in unix seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def _filled(window: Window) -> Floats:
    """Values with gaps filled from the sample before, so that rows can be compared with their predecessors."""
    rows = np.arange(len(window.values))[:, None]
    latest = np.maximum.accumulate(np.where(window.present, rows, 0), axis=0)
    return np.take_along_axis(window.values, latest, axis=0)


def _started(window: Window) -> Bools:
    """Where a row has a sample and the series had one before it."""
    before = np.zeros_like(window.present)
    before[1:] = np.logical_or.accumulate(window.present, axis=0)[:-1]
    return window.present & before


def _extrapolated(*, counter: bool, per_second: bool) -> Callable[[Window, Range], Answer]:
    def compute(window: Window, range_: Range) -> Answer:
        count = window.present.sum(axis=0)
        columns = np.arange(window.values.shape[1])
        first = window.present.argmax(axis=0)
        last = len(window.values) - 1 - window.present[::-1].argmax(axis=0)
        head = window.values[first, columns]
        result = window.values[last, columns] - head
        if counter:
            result = result + _resets(window)
        first_time, last_time = window.times[first], window.times[last]
        sampled = last_time - first_time
        step = sampled / (count - 1)
        to_start = first_time - range_.start
        to_end = range_.end - last_time
        to_start = np.where(to_start >= 1.1 * step, step / 2, to_start)
        if counter:  # a counter is not extrapolated below zero
            to_zero = np.where((result > 0) & (head >= 0), sampled * (head / result), to_start)
            to_start = np.minimum(to_start, to_zero)
        to_end = np.where(to_end >= 1.1 * step, step / 2, to_end)
        factor = (sampled + to_start + to_end) / sampled
        return result * (factor / range_.seconds if per_second else factor), count > 1

    return compute


def _resets(window: Window) -> Floats:
    """What a counter had reached each time before it fell; a fall is a restart from zero."""
    filled = _filled(window)
    fell = _started(window)[1:] & (filled[1:] < filled[:-1])
    total: Floats = np.where(fell, filled[:-1], 0).sum(axis=0)
    return total


def _changes(window: Window, _: Range) -> Answer:
    filled = _filled(window)
    both_nan = np.isnan(filled[1:]) & np.isnan(filled[:-1])
    changed = _started(window)[1:] & (filled[1:] != filled[:-1]) & ~both_nan
    return changed.sum(axis=0).astype(np.float64), window.seen


def _compensated(rows: Floats) -> Floats:
    """Sum over rows by Neumaier's method, as Prometheus sums, so that cancellation eats no digits."""
    total, lost = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for row in rows:
        added = total + row
        larger = np.abs(total) >= np.abs(row)
        lost += np.where(larger, (total - added) + row, (row - added) + total)
        total = added
    return np.where(np.isfinite(total), total + lost, total)


def _sum(window: Window, _: Range) -> Answer:
    return _compensated(np.where(window.present, window.values, 0)), window.seen


def _average(window: Window, range_: Range) -> Answer:
    count = window.present.sum(axis=0)
    total, present = _sum(window, range_)
    if np.isinf(total).any():
        shares = _compensated(np.where(window.present, window.values / count, 0))
        return np.where(np.isinf(total), shares, total / count), present
    return total / count, present


def _extreme(choose: np.ufunc) -> Callable[[Window, Range], Answer]:
    def compute(window: Window, _: Range) -> Answer:
        values: Floats = choose.reduce(np.where(window.present, window.values, np.nan), axis=0)
        return values, window.seen

    return compute


def _count(window: Window, _: Range) -> Answer:
    count = window.present.sum(axis=0)
    return count.astype(np.float64), count > 0


def _last(window: Window, _: Range) -> Answer:
    return _filled(window)[-1], window.seen


RANGES: dict[str, Callable[[Window, Range], Answer]] = {
    "rate": _extrapolated(counter=True, per_second=True),
    "increase": _extrapolated(counter=True, per_second=False),
    "delta": _extrapolated(counter=False, per_second=False),
    "changes": _changes,
    "sum_over_time": _sum,
    "avg_over_time": _average,
    "min_over_time": _extreme(np.fmin),
    "max_over_time": _extreme(np.fmax),
    "count_over_time": _count,
    "last_over_time": _last,
}
_KEEP_NAME = frozenset({"last_over_time"})


def over_range(function: str, selector: Selector, seconds: float) -> Callable[[Moment], Vector]:
    compute = RANGES[function]
    relabel = (lambda series: series) if function in _KEEP_NAME else remember(nameless)

    def evaluate(moment: Moment) -> Vector:
        range_ = Range(round(moment.time - seconds, 3), moment.time)  # milliseconds, as sample times are
        windows = selector.windows(moment, range_.start)
        size = len(selector.series)
        values, present = np.zeros(size), np.zeros(size, np.bool_)
        for window in windows:
            if len(window.times):
                values[window.part], present[window.part] = compute(window, range_)
        return Vector(relabel(selector.series), values, present).unique()

    return evaluate
