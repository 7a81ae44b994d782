"""Aggregations, grouped `by` or `without` labels. Grouping is label work and is remembered.

The rules are those of promql/engine.go in Prometheus 3 (aggregation, aggregationK, aggregationCountValues).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rules import strconv
from rules.errors import QueryError
from rules.labels import NAME, Labels
from rules.promql import notices
from rules.promql.samples import improper_quantile, quantile_places
from rules.promql.vector import NOTHING, Bools, Floats, Ints, Moment, Series, Vector, remember

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
    order: Ints  # the elements, group by group


@dataclass(frozen=True, slots=True)
class _Members:
    """The elements present, group by group; only of groups that have any."""

    there: Bools  # which groups those are
    places: Ints  # where the elements are in the vector
    values: Floats
    starts: Ints
    counts: Ints

    def each(self, of_group: Floats) -> Floats:
        """A value of each group as one of each element."""
        return np.repeat(of_group, self.counts)

    def sums(self, values: Floats) -> Floats:
        result: Floats = np.add.reduceat(values, self.starts)
        return result


def _group(grouping: Grouping) -> Callable[[Series], _Groups]:
    def group(series: Series) -> _Groups:
        known: dict[Labels, int] = {}
        places = [known.setdefault(grouping.reduce(labels), len(known)) for labels in series.labels]
        numbers = np.array(places, np.intp)
        doomed = None
        if series.doomed is not None and grouping.by and NAME in grouping.labels:
            doomed = np.zeros(len(known), np.bool_)
            doomed[numbers[series.doomed]] = True
        return _Groups(numbers, Series(tuple(known), doomed), np.argsort(numbers, kind="stable"))

    return remember(group)


def _members(groups: _Groups, found: Vector) -> _Members:
    numbers, places = groups.numbers, groups.order
    if not found.present.all():
        numbers, places = numbers[found.present], places[found.present[places]]
    counts = np.bincount(numbers, minlength=len(groups.series))
    there = counts > 0
    counts = counts[there]
    return _Members(there, places, found.values[places], np.cumsum(counts) - counts, counts)


def _sum(members: _Members) -> Floats:
    """Sums where cancellation could eat digits are summed again, exactly (Prometheus uses Kahan's method)."""
    total = members.sums(members.values)
    magnitude = members.sums(np.abs(members.values))
    doubtful = np.isfinite(magnitude) & (magnitude > 1e3 * np.abs(total)) & (members.counts > 2)
    for group in np.flatnonzero(doubtful):
        start = members.starts[group]
        total[group] = math.fsum(members.values[start : start + members.counts[group]])
    return total


def _average(members: _Members) -> Floats:
    total = _sum(members)
    average: Floats = total / members.counts
    if np.isinf(total).any():
        # the sum of large values may overflow where their mean does not
        shares = members.sums(members.values / members.each(members.counts.astype(np.float64)))
        average = np.where(np.isinf(total), shares, average)
    return average


def _extreme(choose: np.ufunc) -> Callable[[_Members], Floats]:
    def extreme(members: _Members) -> Floats:
        result: Floats = choose.reduceat(members.values, members.starts)
        return result

    return extreme


def _variance(members: _Members) -> Floats:
    """The mean square of the distances from the mean; a constant has exactly none."""
    begin = members.values[members.starts]
    mean = begin + members.sums(members.values - members.each(begin)) / members.counts
    away = members.values - members.each(mean)
    squares, excess = members.sums(away * away), members.sums(away) ** 2 / members.counts
    result: Floats = np.where(np.isfinite(excess), squares - excess, squares) / members.counts
    return result


SIMPLE: dict[str, Callable[[_Members], Floats]] = {
    "sum": _sum,
    "avg": _average,
    "min": _extreme(np.fmin),  # these two prefer any number to NaN, as Prometheus does
    "max": _extreme(np.fmax),
    "count": lambda members: members.counts.astype(np.float64),
    "group": lambda members: np.ones(len(members.counts)),
    "stdvar": _variance,
    "stddev": lambda members: np.sqrt(_variance(members)),
}


def simple(operator: str, vector: Evaluate, grouping: Grouping) -> Evaluate:
    """One element a group; `operator` is a key of SIMPLE."""
    groups, compute = _group(grouping), SIMPLE[operator]

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        grouped = groups(found.series)
        members = _members(grouped, found)
        return _placed(grouped, members, compute(members))

    return evaluate


def _placed(groups: _Groups, members: _Members, values: Floats) -> Vector:
    if len(values) < len(members.there):
        spread = np.zeros(len(members.there))
        spread[members.there] = values
        values = spread
    return Vector(groups.series, values, members.there)


def quantile(phi: EvaluateScalar, vector: Evaluate, grouping: Grouping) -> Evaluate:
    """The phi-quantile of each group; warns where phi is not between 0 and 1."""
    groups = _group(grouping)

    def evaluate(moment: Moment) -> Vector:
        found, wanted = vector(moment), phi(moment)
        notices.check_quantile(moment.evaluation, wanted)
        grouped = groups(found.series)
        members = _members(grouped, found)
        improper = improper_quantile(wanted)
        values = _quantile(members, wanted) if improper is None else np.full(len(members.counts), improper)
        return _placed(grouped, members, values)

    return evaluate


def _quantile(members: _Members, phi: float) -> Floats:
    unknown = members.sums(np.isnan(members.values).astype(np.float64)).astype(np.intp)
    group = np.repeat(np.arange(len(members.counts)), members.counts)
    ordered = members.values[np.lexsort((members.values, group))]  # NaN comes last here, but first in Prometheus
    lower, upper, weight = quantile_places(phi, members.counts)
    low = np.where(lower < unknown, np.nan, ordered[members.starts + np.maximum(lower - unknown, 0)])
    high = np.where(upper < unknown, np.nan, ordered[members.starts + np.maximum(upper - unknown, 0)])
    result: Floats = low * (1 - weight) + high * weight
    return result


RANKED = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
EXPERIMENTAL = frozenset({"limitk", "limit_ratio"})


def ranked(
    operator: str, vector: Evaluate, parameter: EvaluateScalar, grouping: Grouping, *, ordered: bool = False
) -> Evaluate:
    """Some elements of each group, with their own labels; `operator` is one of RANKED.

    `ordered` sorts what topk and bottomk find, group by group, for the root of an instant query. Raises QueryError for
    a parameter that is NaN or too large.
    """
    groups, sampled = _group(grouping), remember(_sampled)

    def evaluate(moment: Moment) -> Vector:
        found, wanted = vector(moment), parameter(moment)
        if operator == "limit_ratio":
            chosen = _within_ratio(moment, sampled(found.series), wanted)
            return Vector(found.series, found.values, found.present & chosen)
        if wanted < 1:
            return NOTHING
        if math.isnan(wanted):
            raise QueryError("Parameter value is NaN")
        if wanted >= 2**63:
            raise QueryError(f"Scalar value {strconv.general(wanted)} overflows int64")
        members = _members(groups(found.series), found)
        best = _best(operator, members, int(min(wanted, len(found.values))))
        if ordered and operator != "limitk":
            return Vector(found.series.take(best), found.values[best], found.present[best])
        present = np.zeros_like(found.present)
        present[best] = True
        return Vector(found.series, found.values, present)

    return evaluate


def _best(operator: str, members: _Members, k: int) -> Ints:
    """Where the first k elements of each group are, in the operator's order; NaN comes last, equals as they are."""
    places, keys = members.places, np.zeros_like(members.values)
    if operator != "limitk":
        keys = members.values if operator == "bottomk" else -members.values
    if len(members.counts) == 1 and k < len(keys) // 4:
        worst = np.partition(keys, k - 1)[k - 1]
        if not math.isnan(worst):
            kept = np.flatnonzero(keys <= worst)
            return places[kept[np.argsort(keys[kept], kind="stable")][:k]]
    group = np.repeat(np.arange(len(members.counts)), members.counts)
    order = np.lexsort((keys, group))
    rank = np.arange(len(order)) - np.repeat(members.starts, members.counts)
    best: Ints = places[order[rank < k]]
    return best


def _sampled(series: Series) -> Floats:
    """A number between 0 and 1 that a label set always has, evenly distributed."""
    texts = [repr(labels.pairs).encode("utf-8", "surrogatepass") for labels in series.labels]
    digests = [hashlib.blake2b(text, digest_size=8).digest() for text in texts]
    result: Floats = np.frombuffer(b"".join(digests), ">u8").astype(np.float64) / 2.0**64
    return result


def _within_ratio(moment: Moment, offsets: Floats, ratio: float) -> Bools:
    """A negative ratio chooses exactly what its complement, 1 + ratio, does not."""
    if math.isnan(ratio):
        raise QueryError("Ratio value is NaN")
    notices.check_ratio(moment.evaluation, ratio)
    if ratio >= 0:
        return np.ones(len(offsets), np.bool_) if ratio >= 1 else offsets < ratio
    return offsets >= 1.0 + max(ratio, -1.0)


def count_values(label: str, vector: Evaluate, grouping: Grouping) -> Evaluate:
    """How often each value occurs in each group; `label` says the value. Raises QueryError for an empty `label`."""
    if not label:
        raise QueryError(f"invalid label name {label}")
    others = [name for name in grouping.labels if name != label]
    groups = _group(Grouping(grouping.by, tuple(others if grouping.by else [*others, label])))
    shown = grouping.by or label not in (*grouping.labels, NAME)

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        grouped = groups(found.series)
        numbers, values = grouped.numbers[found.present], found.values[found.present]
        if not shown:
            values = np.zeros(len(values))
        same = np.where(np.isnan(values), np.nan, values).view(np.int64)  # by bits, as -0 and NaN are values too
        distinct, place = np.unique(same, return_inverse=True)
        pairs, counts = np.unique(numbers * len(distinct) + place, return_counts=True)
        texts = [strconv.positional(value) for value in distinct.view(np.float64).tolist()]
        labels = []
        for number, text in ((int(pair) // len(distinct), texts[int(pair) % len(distinct)]) for pair in pairs):
            one = grouped.series.labels[number]
            labels.append(one.updated({label: text}) if shown else one)
        return Vector(Series(tuple(labels)), counts.astype(np.float64), np.ones(len(labels), np.bool_))

    return evaluate
