"""Aggregations, grouped `by` or `without` labels. Grouping is label work and is remembered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rules.errors import QueryError
from rules.labels import NAME, Labels
from rules.promql.vector import Floats, Ints, Moment, Series, Vector, remember

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Which labels make a group; none with `by` is one group of all."""

    by: bool
    labels: tuple[str, ...]

    def reduce(self, labels: Labels) -> Labels:
        return labels.only(self.labels) if self.by else labels.without((*self.labels, NAME))


@dataclass(frozen=True, slots=True)
class _Groups:
    numbers: Ints  # the group of each element
    series: Series  # the groups' labels


def _group(grouping: Grouping) -> Callable[[Series], _Groups]:
    def group(series: Series) -> _Groups:
        known: dict[Labels, int] = {}
        numbers = [known.setdefault(grouping.reduce(labels), len(known)) for labels in series.labels]
        return _Groups(np.array(numbers, np.intp), Series(tuple(known)))

    return remember(group)


def _sum(values: Floats, numbers: Ints, size: int) -> Floats:
    """Sums of groups. Where cancellation could eat digits they are summed again, exactly (Prometheus uses Kahan)."""
    total: Floats = np.bincount(numbers, values, size).astype(np.float64)
    magnitude = np.bincount(numbers, np.abs(values), size)
    doubtful = np.flatnonzero(np.isfinite(magnitude) & (magnitude > 1e3 * np.abs(total)))
    if len(doubtful):
        order = np.argsort(numbers, kind="stable")
        first = np.searchsorted(numbers[order], doubtful, side="left")
        last = np.searchsorted(numbers[order], doubtful, side="right")
        for group, start, end in zip(doubtful, first, last, strict=True):
            total[group] = math.fsum(values[order[start:end]])
    return total


def _average(values: Floats, numbers: Ints, size: int) -> Floats:
    count = _count(values, numbers, size)
    total = _sum(values, numbers, size)
    if np.isinf(total).any():
        # the sum of large values may overflow where their mean does not
        shares = _sum(values / count[numbers], numbers, size)
        return np.where(np.isinf(total), shares, total / count)
    return total / count


def _extreme(choose: np.ufunc) -> Callable[[Floats, Ints, int], Floats]:
    def extreme(values: Floats, numbers: Ints, size: int) -> Floats:
        result = np.full(size, np.nan)  # fmin and fmax prefer any number to NaN, as Prometheus does
        order = np.argsort(numbers, kind="stable")
        groups, starts = np.unique(numbers[order], return_index=True)
        if len(groups):
            result[groups] = choose.reduceat(values[order], starts)
        return result

    return extreme


def _count(_: Floats, numbers: Ints, size: int) -> Floats:
    return np.bincount(numbers, minlength=size).astype(np.float64)


def _one(_: Floats, __: Ints, size: int) -> Floats:
    return np.ones(size)


SIMPLE: dict[str, Callable[[Floats, Ints, int], Floats]] = {
    "sum": _sum,
    "avg": _average,
    "min": _extreme(np.fmin),
    "max": _extreme(np.fmax),
    "count": _count,
    "group": _one,
}
RANKED = frozenset({"topk", "bottomk"})


def simple(operator: str, vector: Evaluate, grouping: Grouping) -> Evaluate:
    """One element a group."""
    groups, compute = _group(grouping), SIMPLE[operator]

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        grouped = groups(found.series)
        numbers = grouped.numbers[found.present]
        size = len(grouped.series)
        values = compute(found.values[found.present], numbers, size)
        return Vector(grouped.series, values, np.bincount(numbers, minlength=size) > 0)

    return evaluate


def ranked(operator: str, vector: Evaluate, parameter: EvaluateScalar, grouping: Grouping) -> Evaluate:
    """The k largest or smallest elements of each group, with their own labels."""
    groups = _group(grouping)

    def evaluate(moment: Moment) -> Vector:
        found, k = vector(moment), parameter(moment)
        if math.isnan(k):
            raise QueryError("parameter value is NaN")
        places = np.flatnonzero(found.present)
        numbers, values = groups(found.series).numbers[places], found.values[places]
        order = np.lexsort((values if operator == "bottomk" else -values, numbers))  # NaN comes last either way
        _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(starts, counts)
        present = np.zeros_like(found.present)
        present[places[order[rank < math.floor(min(k, len(order)))]]] = True
        return Vector(found.series, found.values, present)

    return evaluate
