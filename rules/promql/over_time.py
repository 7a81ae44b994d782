"""Statistics of gauges over a time range, as in promql/functions.go of Prometheus 3."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rules.errors import QueryError
from rules.promql import notices
from rules.promql.evaluation import Evaluation
from rules.promql.samples import Samples, add, compensated, improper_quantile, quantile_places, seconds
from rules.promql.vector import Bools, Floats, Series
from rules.promql.windows import Range

Answer = tuple[Floats, Bools]


def total(samples: Samples, _: Range) -> Answer:
    sums, lost = compensated(samples.filled(samples.values, 0.0))
    return sums + lost, samples.with_(1)


def average(samples: Samples, _: Range) -> Answer:
    sums, lost = compensated(samples.filled(samples.values, 0.0))
    result = sums / samples.count + lost / samples.count
    overflown = np.flatnonzero(np.isinf(sums))
    if len(overflown):
        result[overflown] = _running_mean(samples.at(overflown))
    return result, samples.with_(1)


def _running_mean(samples: Samples) -> Floats:
    """A mean without a sum that overflows: from where it would, the mean so far is corrected by each sample."""
    sums, lost = samples.values[0], np.zeros(samples.width)
    mean, running = np.zeros(samples.width), np.zeros(samples.width, np.bool_)
    for count, row in enumerate(samples.values[1:], 2):
        counts = np.True_ if samples.counts is None else samples.counts >= count
        added, carried = add(sums, lost, row)
        begins = counts & np.isinf(added) & ~running
        mean, lost = np.where(begins, sums / (count - 1), mean), np.where(begins, lost / (count - 1), lost)
        running |= begins
        share = (count - 1) / count
        moved, moved_lost = add(share * mean, share * lost, row / count)
        mean = np.where(counts & running, moved, mean)
        sums = np.where(counts & ~running, added, sums)
        lost = np.where(counts, np.where(running, moved_lost, carried), lost)
    return np.where(running, mean + lost, sums / samples.count + lost / samples.count)


def extreme(choose: np.ufunc, choose_number: np.ufunc) -> Callable[[Samples, Range], Answer]:
    """`choose` is the fast one; `choose_number` prefers any number to NaN, as Prometheus does."""

    def compute(samples: Samples, _: Range) -> Answer:
        if samples.counts is not None:
            return choose_number.reduce(samples.filled(samples.values, np.nan), axis=0), samples.with_(1)
        result: Floats = choose.reduce(samples.values, axis=0)
        unknown = np.flatnonzero(np.isnan(result))
        if len(unknown):
            result[unknown] = choose_number.reduce(samples.values[:, unknown], axis=0)
        return result, samples.with_(1)

    return compute


def time_of_extreme(choose_number: np.ufunc) -> Callable[[Samples, Range], Answer]:
    """When the extreme was seen last; of nothing but NaN the time of the last sample."""

    def compute(samples: Samples, _: Range) -> Answer:
        best = choose_number.reduce(samples.filled(samples.values, np.nan), axis=0)
        seen = (samples.values == best) | np.isnan(best)
        if samples.mask is not None:
            seen &= samples.mask
        row = len(seen) - 1 - seen[::-1].argmax(axis=0)
        times = np.broadcast_to(samples.times, seen.shape)
        return times[row, np.arange(samples.width)], samples.with_(1)

    return compute


def count(samples: Samples, _: Range) -> Answer:
    return np.broadcast_to(samples.count.astype(np.float64), (samples.width,)), samples.with_(1)


def presence(samples: Samples, _: Range) -> Answer:
    return np.ones(samples.width), samples.with_(1)


def first(samples: Samples, _: Range) -> Answer:
    return samples.values[0], samples.with_(1)


def last(samples: Samples, _: Range) -> Answer:
    return samples.from_end(1)[1], samples.with_(1)


def time_of_first(samples: Samples, _: Range) -> Answer:
    return np.broadcast_to(samples.times[0], (samples.width,)), samples.with_(1)


def time_of_last(samples: Samples, _: Range) -> Answer:
    return np.broadcast_to(samples.from_end(1)[0], (samples.width,)), samples.with_(1)


def variance(samples: Samples, _: Range) -> Answer:
    """The mean square of the distances from the mean, which are taken from the first sample and then corrected.

    So a constant has exactly none. Where the mean is so large that Prometheus's own way loses digits, it is taken all
    the same: equal results are worth more here than better ones.
    """
    begin = samples.values[0]
    mean = begin + np.add.reduce(samples.filled(samples.values - begin, 0.0), axis=0) / samples.count
    away = samples.filled(samples.values - mean, 0.0)
    squares = np.einsum("ij,ij->j", away, away)
    excess = np.add.reduce(away, axis=0) ** 2 / samples.count
    result: Floats = np.where(np.isfinite(excess), squares - excess, squares) / samples.count
    distant = np.flatnonzero((mean * mean > 1e10 * result) & (result > 0))
    if len(distant):
        result[distant] = _running_variance(samples.at(distant))
    return result, samples.with_(1)


def _running_variance(samples: Samples) -> Floats:
    """Welford's method with compensated sums."""
    mean, mean_lost, squares, lost = (np.zeros(samples.width) for _ in range(4))
    for row, value in enumerate(samples.values):
        away = value - (mean + mean_lost)
        new_mean, new_mean_lost = add(mean, mean_lost, away / (row + 1))
        new_squares, new_lost = add(squares, lost, away * (value - (new_mean + new_mean_lost)))
        there = np.True_ if samples.counts is None else samples.counts > row
        mean, mean_lost = np.where(there, new_mean, mean), np.where(there, new_mean_lost, mean_lost)
        squares, lost = np.where(there, new_squares, squares), np.where(there, new_lost, lost)
    return (squares + lost) / samples.count


def deviation(samples: Samples, range_: Range) -> Answer:
    values, present = variance(samples, range_)
    return np.sqrt(values), present


def quantile(samples: Samples, _: Range, phi: float) -> Answer:
    return _quantile(samples, samples.values, phi), samples.with_(1)


def _quantile(samples: Samples, values: Floats, phi: float) -> Floats:
    improper = improper_quantile(phi)
    if improper is not None:
        return np.full(samples.width, improper)
    unknown = samples.filled(np.isnan(values).astype(np.float64), 0.0).sum(axis=0).astype(np.intp)
    ordered = np.sort(samples.filled(values, np.nan).T, axis=1)  # NaN comes last here, but first in Prometheus
    lower, upper, weight = quantile_places(phi, samples.count)
    columns = np.arange(samples.width)
    low = np.where(lower < unknown, np.nan, ordered[columns, np.maximum(lower - unknown, 0)])
    high = np.where(upper < unknown, np.nan, ordered[columns, np.maximum(upper - unknown, 0)])
    result: Floats = low * (1 - weight) + high * weight
    return result


def absolute_deviation(samples: Samples, _: Range) -> Answer:
    """The median of the distances from the median; NaN where there is any."""
    distances = np.abs(samples.values - _quantile(samples, samples.values, 0.5))
    unknown = np.logical_or.reduce(np.isnan(samples.filled(samples.values, 0.0)), axis=0)
    return np.where(unknown, np.nan, _quantile(samples, distances, 0.5)), samples.with_(1)


def _line(samples: Samples, origin: Floats | float) -> tuple[Floats, Floats]:
    """Slope and value at the time `origin` of the straight line with the least squares."""
    x, y = seconds(samples.times - origin), samples.values
    rows = [samples.filled(part, 0.0) for part in (x, x * x, y, x * y)]
    sums = np.add(*compensated(np.concatenate(rows, axis=1)))  # together, as those of common times are narrow
    sum_x, sum_xx, sum_y, sum_xy = np.split(sums, np.cumsum([part.shape[1] for part in rows])[:-1])
    n = samples.count
    slope = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n)
    intercept = sum_y / n - slope * sum_x / n
    differs = y != y[0]
    if samples.mask is not None:
        differs &= samples.mask
    constant = ~np.logical_or.reduce(differs, axis=0)
    level = np.where(np.isinf(y[0]), np.nan, y[0])
    return np.where(constant, level - level, slope), np.where(constant, level, intercept)


def derivative(samples: Samples, _: Range) -> Answer:
    return _line(samples, samples.times[0])[0], samples.with_(2)


def prediction(samples: Samples, range_: Range, ahead: float) -> Answer:
    """The value `ahead` seconds after the evaluation."""
    slope, intercept = _line(samples, range_.now)
    return slope * ahead + intercept, samples.with_(2)


def smoothing(samples: Samples, _: Range, smoothing_factor: float, trend_factor: float) -> Answer:
    """Holt's double exponential smoothing. Raises QueryError for factors that are not between 0 and 1."""
    for name, factor in (("smoothing", smoothing_factor), ("trend", trend_factor)):
        if factor <= 0 or factor >= 1:
            raise QueryError(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor:f}")
    before, level = np.zeros(samples.width), samples.values[0]
    trend = samples.values[min(1, len(samples.values) - 1)] - level
    for row, value in enumerate(samples.values[1:], 1):
        if row > 1:
            trend = trend_factor * (level - before) + (1 - trend_factor) * trend
        smooth = smoothing_factor * value + (1 - smoothing_factor) * (level + trend)
        there = np.True_ if samples.counts is None else samples.counts > row
        before, level = np.where(there, level, before), np.where(there, smooth, level)
    return level, samples.with_(2)


def check_phi(evaluation: Evaluation, _: Series, present: Bools, scalars: tuple[float, ...]) -> None:
    if present.any():
        notices.check_quantile(evaluation, scalars[0])
