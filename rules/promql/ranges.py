"""Functions over a time range: which there are, and how they are applied to a range vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rules.promql import over_time, rates
from rules.promql.evaluation import Evaluation
from rules.promql.samples import Samples
from rules.promql.vector import Bools, Floats, Moment, Series, Vector, dropping_names
from rules.promql.windows import Range, Ranged, Window

Answer = tuple[Floats, Bools]
Check = Callable[[Evaluation, Series, Bools, tuple[float, ...]], None]
EvaluateScalar = Callable[[Moment], float]

_BLOCK = 4096  # series at a time, so that what is computed in between stays in the processor's cache


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """`compute` gets the samples, the range and the scalar arguments, and says values and where they are present.

    `before` and `after` are how many scalar arguments stand before and after the range vector. `check` makes what adds
    annotations to an evaluation, given the argument's series, where the result is present, and the scalars.
    """

    compute: Callable[..., Answer]
    keeps_name: bool = False
    before: int = 0
    after: int = 0
    experimental: bool = False
    check: Callable[[], Check] | None = None


RANGES: dict[str, RangeFunction] = {
    "avg_over_time": RangeFunction(over_time.average),
    "changes": RangeFunction(rates.changes),
    "count_over_time": RangeFunction(over_time.count),
    "delta": RangeFunction(rates.extrapolated(counter=False, per_second=False)),
    "deriv": RangeFunction(over_time.derivative),
    "double_exponential_smoothing": RangeFunction(over_time.smoothing, after=2, experimental=True),
    "first_over_time": RangeFunction(over_time.first, keeps_name=True, experimental=True),
    "holt_winters": RangeFunction(over_time.smoothing, after=2),
    "idelta": RangeFunction(rates.instant(counter=False)),
    "increase": RangeFunction(rates.extrapolated(counter=True, per_second=False), check=rates.check_counters),
    "irate": RangeFunction(rates.instant(counter=True)),
    "last_over_time": RangeFunction(over_time.last, keeps_name=True),
    "mad_over_time": RangeFunction(over_time.absolute_deviation, experimental=True),
    "max_over_time": RangeFunction(over_time.extreme(np.maximum, np.fmax)),
    "min_over_time": RangeFunction(over_time.extreme(np.minimum, np.fmin)),
    "predict_linear": RangeFunction(over_time.prediction, after=1),
    "present_over_time": RangeFunction(over_time.presence),
    "quantile_over_time": RangeFunction(over_time.quantile, before=1, check=lambda: over_time.check_phi),
    "rate": RangeFunction(rates.extrapolated(counter=True, per_second=True), check=rates.check_counters),
    "resets": RangeFunction(rates.resets),
    "stddev_over_time": RangeFunction(over_time.deviation),
    "stdvar_over_time": RangeFunction(over_time.variance),
    "sum_over_time": RangeFunction(over_time.total),
    "ts_of_first_over_time": RangeFunction(over_time.time_of_first, experimental=True),
    "ts_of_last_over_time": RangeFunction(over_time.time_of_last, experimental=True),
    "ts_of_max_over_time": RangeFunction(over_time.time_of_extreme(np.fmax), experimental=True),
    "ts_of_min_over_time": RangeFunction(over_time.time_of_extreme(np.fmin), experimental=True),
}


def over_range(
    function: RangeFunction, ranged: Ranged, scalars: tuple[EvaluateScalar, ...]
) -> Callable[[Moment], Vector]:
    """`function` of a range vector; `scalars` are its other arguments in their order."""
    drop = dropping_names()
    check = function.check() if function.check else None

    def evaluate(moment: Moment) -> Vector:
        windows = ranged(moment)
        arguments = tuple([scalar(moment) for scalar in scalars])
        size = len(windows.series)
        values, present = np.zeros(size), np.zeros(size, np.bool_)
        for window in windows.parts:
            if window.values.size:
                apply(function, window, windows.range, arguments, (values[window.part], present[window.part]))
        if check is not None:
            check(moment.evaluation, windows.series, present, arguments)
        series = windows.series if function.keeps_name else drop(windows.series, moment)
        return Vector(series, values, present).unique()

    return evaluate


def apply(function: RangeFunction, window: Window, range_: Range, scalars: tuple[float, ...], answer: Answer) -> None:
    """Compute a window's series into `answer`, whose arrays have an element for each."""
    for start in range(0, window.values.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        values, results, present = window.values[:, block], answer[0][block], answer[1][block]
        mask = None if window.present is None else window.present[:, block]
        gappy = np.zeros(len(present), np.bool_) if mask is None else ~np.logical_and.reduce(mask, axis=0)
        if np.count_nonzero(gappy) <= len(gappy) // 2:  # what this says of series with gaps is corrected below
            samples = Samples(window.times[:, None], values)
            results[:], present[:] = function.compute(samples, range_, *scalars)
        else:
            gappy[:] = True
        if mask is not None and gappy.any():
            present[gappy] = False
            columns = np.flatnonzero(gappy & np.logical_or.reduce(mask, axis=0))
            if len(columns):
                samples = Samples.packed(window.times, values[:, columns], mask[:, columns])
                results[columns], present[columns] = function.compute(samples, range_, *scalars)
