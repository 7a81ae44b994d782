"""Rates of counters and differences of gauges, as in promql/functions.go of Prometheus 3 (extrapolatedRate ...)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rules.promql import notices
from rules.promql.evaluation import Evaluation
from rules.promql.samples import Samples, seconds
from rules.promql.vector import Bools, Floats, Ints, Series, remember
from rules.promql.windows import Range

Answer = tuple[Floats, Bools]


def _steps(samples: Samples, holds: Bools) -> Bools:
    """Of what holds between rows and their predecessors, that between two samples."""
    mask = samples.mask
    return holds if mask is None else holds & mask[1:]


def _falls(samples: Samples) -> Bools:
    return _steps(samples, samples.values[1:] < samples.values[:-1])


def _with_resets(samples: Samples, increase: Floats) -> Floats:
    """A counter that falls has restarted from zero: what it had reached counts too."""
    fell = _falls(samples)
    if not fell.any():
        return increase
    columns = np.flatnonzero(np.logical_or.reduce(fell, axis=0))
    corrected = increase[columns]
    for row, falls in zip(samples.values, fell[:, columns], strict=False):
        corrected += np.where(falls, row[columns], 0.0)
    increase[columns] = corrected
    return increase


def _to_zero(first: Floats, increase: Floats, sampled: Floats, to_start: Floats) -> Floats:
    """Not further back than to where the counter would have been zero."""
    to_zero = sampled * (first / increase)
    nearer = (increase > 0) & (first >= 0) & (to_zero < to_start)
    return np.where(nearer, to_zero, to_start)


def extrapolated(*, counter: bool, per_second: bool) -> Callable[[Samples, Range], Answer]:
    """The increase between the first and the last sample, extrapolated to the range.

    To its borders where they are hardly further away than samples are from each other, else by half that distance.
    Prometheus 2 limits a counter to zero before it judges that distance, Prometheus 3 afterwards.
    """

    def compute(samples: Samples, range_: Range) -> Answer:
        if len(samples.values) < 2:
            return np.zeros(samples.width), np.zeros(samples.width, np.bool_)
        first_time, first = samples.times[0], samples.values[0]
        last_time, last = samples.from_end(1)
        increase = last - first
        if counter:
            increase = _with_resets(samples, increase)
        sampled = seconds(last_time - first_time)
        step = sampled / (samples.count - 1)
        to_start, to_end = seconds(first_time - range_.start), seconds(range_.end - last_time)
        if counter and range_.compat == 2:
            to_start = _to_zero(first, increase, sampled, to_start)
        to_start = np.where(to_start >= step * 1.1, step / 2, to_start)
        if counter and range_.compat != 2:
            to_start = _to_zero(first, increase, sampled, to_start)
        to_end = np.where(to_end >= step * 1.1, step / 2, to_end)
        factor = (sampled + to_start + to_end) / sampled
        return increase * (factor / range_.seconds if per_second else factor), samples.with_(2)

    return compute


def instant(*, counter: bool) -> Callable[[Samples, Range], Answer]:
    """The difference of the last two samples; of a counter per second, and after a reset since zero."""

    def compute(samples: Samples, _: Range) -> Answer:
        time, value = samples.from_end(1)
        time_before, before = samples.from_end(2)
        if not counter:
            return value - before, samples.with_(2)
        increase = np.where(value < before, value, value - before)
        return increase / seconds(time - time_before), samples.with_(2)

    return compute


def resets(samples: Samples, _: Range) -> Answer:
    return np.count_nonzero(_falls(samples), axis=0).astype(np.float64), samples.with_(1)


def changes(samples: Samples, _: Range) -> Answer:
    now, before = samples.values[1:], samples.values[:-1]
    changed = now != before
    if np.isnan(samples.values).any():
        changed &= ~(np.isnan(now) & np.isnan(before))
    return np.count_nonzero(_steps(samples, changed), axis=0).astype(np.float64), samples.with_(1)


_COUNTERS = ("_total", "_sum", "_count", "_bucket")


def _suspects(series: Series) -> list[tuple[str, Ints]]:
    """The metrics whose names are not those of counters, and where they are."""
    names = {labels.name for labels in series.labels}
    suspects = [name for name in names if name and not name.endswith(_COUNTERS)]
    return [
        (name, np.array([place for place, labels in enumerate(series.labels) if labels.name == name], np.intp))
        for name in suspects
    ]


def check_counters() -> Callable[[Evaluation, Series, Bools, tuple[float, ...]], None]:
    suspects = remember(_suspects)

    def check(evaluation: Evaluation, series: Series, present: Bools, _: tuple[float, ...]) -> None:
        for name, places in suspects(series):
            if present[places].any():
                notices.not_a_counter(evaluation, name)

    return check
