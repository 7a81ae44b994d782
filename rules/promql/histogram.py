"""Functions of classic histograms: series that count what is less than or equal to the bound in their label `le`.

The rules are those of promql/quantile.go in Prometheus 3 (BucketQuantile, BucketFraction). Which series are the
buckets of a histogram is label work and is remembered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rules import strconv
from rules.labels import Labels
from rules.promql import notices
from rules.promql.evaluation import Evaluation
from rules.promql.samples import improper_quantile
from rules.promql.vector import NOTHING, Bools, Floats, Ints, Moment, Series, Vector, dropping_names, remember

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]
# From bounds and counts, a row for each bucket in ascending order and a column for each histogram, to a value for each
# histogram and whether its counts had to be corrected.
Compute = Callable[[Floats, Floats], tuple[Floats, Bools]]

_BOUND = "le"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.ASCII | re.IGNORECASE)
_TOLERANCE = 1e-12  # relative; smaller differences of counts are what rounding left
_NORMAL = 2.2250738585072014e-308  # the smallest number with all its digits


@dataclass(frozen=True, slots=True)
class _Alike:
    """Histograms with the same number of buckets: where their series are, by bound, and which histograms they are."""

    numbers: Ints
    places: Ints  # shape (buckets, histograms)
    bounds: Floats  # same shape


@dataclass(frozen=True, slots=True)
class _Layout:
    series: Series  # the histograms, with their names
    alike: tuple[_Alike, ...]
    repeating: tuple[_Alike, ...]  # one histogram each, with equal bounds (le="1" and le="1.0")
    malformed: tuple[tuple[str, str, Ints], ...]  # bound and metric name of what is no bucket, and where it is


def _bound(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return None if math.isinf(number) and "n" not in text.lower() else number


def _lay_out(series: Series) -> _Layout:
    histograms: dict[Labels, list[tuple[float, int]]] = {}
    malformed: dict[tuple[str, str], list[int]] = {}
    for place, labels in enumerate(series.labels):
        text = labels.value(_BOUND)
        bound = _bound(text)
        if bound is None:
            malformed.setdefault((text, labels.name), []).append(place)
        else:
            histograms.setdefault(labels.without((_BOUND,)), []).append((bound, place))
    sizes: dict[int, list[tuple[int, list[tuple[float, int]]]]] = {}
    repeating = []
    for number, buckets in enumerate(histograms.values()):
        buckets.sort()
        if len({bound for bound, _ in buckets}) == len(buckets):
            sizes.setdefault(len(buckets), []).append((number, buckets))
        else:
            repeating.append(_alike([(number, buckets)]))
    alike = tuple([_alike(same) for same in sizes.values()])
    bad = tuple([(text, name, np.array(places, np.intp)) for (text, name), places in malformed.items()])
    return _Layout(Series(tuple(histograms)), alike, tuple(repeating), bad)


def _alike(histograms: list[tuple[int, list[tuple[float, int]]]]) -> _Alike:
    numbers = np.array([number for number, _ in histograms], np.intp)
    places = np.array([[place for _, place in buckets] for _, buckets in histograms], np.intp)
    bounds = np.array([[bound for bound, _ in buckets] for _, buckets in histograms])
    return _Alike(numbers, np.ascontiguousarray(places.T), np.ascontiguousarray(bounds.T))


@dataclass(slots=True)
class _Results:
    values: Floats
    present: Bools
    forced: Bools

    def put(self, numbers: Ints, bounds: Floats, counts: Floats, compute: Compute) -> None:
        if len(bounds):
            self.values[numbers], self.forced[numbers] = compute(bounds, counts)
            self.present[numbers] = True


def _computed(layout: _Layout, found: Vector, compute: Compute) -> _Results:
    size = len(layout.series)
    results = _Results(np.zeros(size), np.zeros(size, np.bool_), np.zeros(size, np.bool_))
    everything = bool(found.present.all())
    for alike in layout.alike:
        counts = found.values[alike.places]
        if everything:
            results.put(alike.numbers, alike.bounds, counts, compute)
            continue
        present = found.present[alike.places]
        packed = np.argsort(~present, axis=0, kind="stable")
        bounds, counts = (np.take_along_axis(rows, packed, axis=0) for rows in (alike.bounds, counts))
        buckets = np.count_nonzero(present, axis=0)
        for number in np.unique(buckets):
            same = np.flatnonzero(buckets == number)
            results.put(alike.numbers[same], bounds[:number, same], counts[:number, same], compute)
    for one in layout.repeating:
        there = found.present[one.places[:, 0]]
        bounds, owner = np.unique(one.bounds[there, 0], return_inverse=True)
        counts = np.bincount(owner, found.values[one.places[there, 0]], len(bounds)).astype(np.float64)
        results.put(one.numbers, bounds[:, None], counts[:, None], compute)
    return results


def _histograms(vector: Evaluate) -> Callable[[Moment], tuple[_Layout, Vector]]:
    """The elements of a vector with what is known of them; warns of those that are no buckets."""
    lay_out = remember(_lay_out)

    def evaluate(moment: Moment) -> tuple[_Layout, Vector]:
        found = vector(moment)
        layout = lay_out(found.series)
        for bound, name, places in layout.malformed:
            if found.present[places].any():
                notices.malformed_bound(moment.evaluation, bound, _known(moment.evaluation, name))
        return layout, found

    return evaluate


def _known(evaluation: Evaluation, name: str) -> str:
    return name if evaluation.dialect.delayed_names else ""


def _note_forced(evaluation: Evaluation, layout: _Layout, forced: Bools) -> None:
    if forced.any():
        names = {_known(evaluation, layout.series.labels[number].name) for number in np.flatnonzero(forced)}
        for name in names:
            notices.forced_monotonicity(evaluation, name)


def quantile(phi: EvaluateScalar, vector: Evaluate) -> Evaluate:
    """The phi-quantile of each histogram, as if observations were evenly distributed in their bucket."""
    histograms, drop = _histograms(vector), dropping_names()

    def evaluate(moment: Moment) -> Vector:
        wanted = phi(moment)
        notices.check_quantile(moment.evaluation, wanted)
        layout, found = histograms(moment)
        results = _computed(layout, found, _quantile(wanted))
        _note_forced(moment.evaluation, layout, results.forced)
        return Vector(drop(layout.series, moment), results.values, results.present).unique()

    return evaluate


def quantiles(vector: Evaluate, label: str, phis: tuple[EvaluateScalar, ...]) -> Evaluate:
    """Several quantiles of each histogram; `label` says which."""
    histograms, drop = _histograms(vector), dropping_names()

    def named(series: Series, phi: float) -> Series:
        return series.map(lambda labels: labels.updated({label: _decimal(phi)}))

    def evaluate(moment: Moment) -> Vector:
        wanted = [phi(moment) for phi in phis]
        for one in wanted:
            notices.check_quantile(moment.evaluation, one)
        layout, found = histograms(moment)
        every = [_computed(layout, found, _quantile(one)) for one in wanted]
        _note_forced(moment.evaluation, layout, np.logical_or.reduce([results.forced for results in every]))
        series = Series(())
        for one in wanted:
            series = Series.joined(series, named(drop(layout.series, moment), one))
        values = np.concatenate([results.values for results in every])
        return Vector(series, values, np.concatenate([results.present for results in every])).unique()

    return evaluate


def _decimal(number: float) -> str:
    """As OpenMetrics writes it: never like an integer."""
    text = strconv.general(number)
    return text if any(mark in text for mark in ".enN") else f"{text}.0"


def fraction(lower: EvaluateScalar, upper: EvaluateScalar, vector: Evaluate) -> Evaluate:
    """Which share of each histogram's observations lies between two values."""
    histograms, drop = _histograms(vector), dropping_names()

    def evaluate(moment: Moment) -> Vector:
        compute = _fraction(lower(moment), upper(moment))
        layout, found = histograms(moment)
        results = _computed(layout, found, compute)
        return Vector(drop(layout.series, moment), results.values, results.present).unique()

    return evaluate


def of_native(vector: Evaluate) -> Evaluate:
    """histogram_avg, _count, _sum, _stddev and _stdvar: of floats they say nothing."""

    def evaluate(moment: Moment) -> Vector:
        vector(moment)
        return NOTHING

    return evaluate


def _quantile(phi: float) -> Compute:
    def compute(bounds: Floats, counts: Floats) -> tuple[Floats, Bools]:
        size, columns = len(bounds), np.arange(bounds.shape[1])
        improper = improper_quantile(phi)
        if improper is not None:
            return np.full(len(columns), improper), np.zeros(len(columns), np.bool_)
        counts, forced = _monotonic(counts)
        if size < 2:
            return np.full(len(columns), np.nan), forced
        closed = bounds[-1] == np.inf
        rank = phi * counts[-1]
        bucket = _first_reaching(rank, counts)
        below = np.maximum(bucket - 1, 0)
        start = np.where(bucket > 0, bounds[below, columns], 0.0)
        under = np.where(bucket > 0, counts[below, columns], 0.0)
        share = (rank - under) / (counts[bucket, columns] - under)
        values = start + (bounds[bucket, columns] - start) * share
        values = np.where((bucket == 0) & (bounds[0] <= 0), bounds[0], values)
        values = np.where(bucket == size - 1, bounds[-2], values)
        return np.where(closed & (counts[-1] != 0), values, np.nan), forced & closed

    return compute


def _first_reaching(rank: Floats, counts: Floats) -> Ints:
    """The bucket that holds the rank. Found by halves, as Prometheus does, for that matters where a count is NaN."""
    columns = np.arange(len(rank))
    low, high = np.zeros(len(rank), np.intp), np.full(len(rank), len(counts) - 1)
    while (searching := low < high).any():
        middle = (low + high) // 2
        reached = counts[middle, columns] >= rank
        low, high = np.where(searching & ~reached, middle + 1, low), np.where(searching & reached, middle, high)
    return low


def _monotonic(counts: Floats) -> tuple[Floats, Bools]:
    """Counts that never decrease: what rounding left is ignored silently, what else decreases is said."""
    fixed, forced = counts.copy(), np.zeros(counts.shape[1], np.bool_)
    before = fixed[0]
    for count in fixed[1:]:
        near = _almost_equal(before, count)
        falls = count < before
        forced |= falls & ~near
        count[:] = np.where(falls | near, before, count)
        before = count
    return fixed, forced


def _almost_equal(one: Floats, other: Floats) -> Bools:
    """As util/almost of Prometheus compares."""
    size, difference = np.abs(one) + np.abs(other), np.abs(one - other)
    tiny = (one == 0) | (other == 0) | (size < _NORMAL)
    relative = difference / np.minimum(size, np.finfo(np.float64).max)
    near: Bools = np.where(tiny, difference < _TOLERANCE * _NORMAL, relative < _TOLERANCE)
    near |= one == other
    return near


def _fraction(lower: float, upper: float) -> Compute:
    def compute(bounds: Floats, counts: Floats) -> tuple[Floats, Bools]:
        total, forced = counts[-1], np.zeros(bounds.shape[1], np.bool_)
        if math.isnan(lower) or math.isnan(upper):
            return np.full(len(total), np.nan), forced
        shares = (_rank(upper, bounds, counts) - _rank(lower, bounds, counts)) / total
        if lower >= upper:
            shares = np.zeros(len(total))
        return np.where((bounds[-1] == np.inf) & (total != 0), shares, np.nan), forced

    return compute


def _rank(value: float, bounds: Floats, counts: Floats) -> Floats:
    """How many observations are below `value`."""
    columns, total = np.arange(bounds.shape[1]), counts[-1]
    starts = np.vstack([np.where(bounds[0] <= 0, -np.inf, 0.0), bounds[:-1]])
    under = np.vstack([np.zeros(len(columns)), counts[:-1]])
    reached = (starts >= value) | (bounds > value)
    bucket = reached.argmax(axis=0)
    start, end = starts[bucket, columns], bounds[bucket, columns]
    count, before = counts[bucket, columns], under[bucket, columns]
    inside = np.where(start == -np.inf, count, before + (count - before) * (value - start) / (end - start))
    rank = np.where(start >= value, before, inside)
    beyond = ~np.logical_or.reduce(reached, axis=0) | (rank > total)
    result: Floats = np.where(beyond, total, rank)
    return result
