"""Binary operators: arithmetic, comparisons, set operators, and the matching of two vectors.

The rules are those of promql/engine.go in Prometheus 3 (VectorBinop, VectorAnd, VectorOr, VectorUnless).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rules.errors import QueryError
from rules.labels import METADATA, NAME, Labels, in_braces
from rules.promql.evaluation import Moment
from rules.promql.vector import NOTHING, Bools, Ints, Series, Vector, dropping_names, remember

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.float_power,  # for the exponent 0.5 np.power takes the square root, which differs at -inf
    "atan2": np.arctan2,
}
COMPARISONS: dict[str, Callable[..., Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS = frozenset({"and", "or", "unless"})


@dataclass(frozen=True, slots=True)
class Matching:
    """How elements of two vectors find each other: by `on` these labels, or by all others (`ignoring`)."""

    on: bool
    labels: tuple[str, ...]
    many: str = ""  # the side with several elements a match: "left", "right", "" for neither
    include: tuple[str, ...] = ()  # labels that the many side takes over from the one side

    def signature(self, labels: Labels) -> Hashable:
        if self.on:
            return tuple(labels.value(name) for name in self.labels)
        return tuple(pair for pair in labels.pairs if pair[0] not in self.labels and pair[0] != NAME)

    def describe(self, labels: Labels) -> str:
        kept = labels.only(self.labels) if self.on else labels.without((*self.labels, NAME))
        return in_braces(kept)


def scalars(operator: str, left: EvaluateScalar, right: EvaluateScalar) -> EvaluateScalar:
    compute = ARITHMETIC.get(operator) or COMPARISONS[operator]
    return lambda moment: float(compute(np.float64(left(moment)), np.float64(right(moment))))


def with_scalar(operator: str, vector: Evaluate, scalar: EvaluateScalar, *, swapped: bool, as_bool: bool) -> Evaluate:
    """A vector and a scalar, which stands on the left where `swapped`. Filters keep the vector's value."""
    drop = dropping_names()
    compute = ARITHMETIC.get(operator) or COMPARISONS[operator]
    filters = operator in COMPARISONS and not as_bool

    def evaluate(moment: Moment) -> Vector:
        first, second = scalar(moment), vector(moment)
        result = compute(first, second.values) if swapped else compute(second.values, first)
        if filters:
            return Vector(second.series, second.values, second.present & result)
        return Vector(drop(second.series, moment), result.astype(np.float64), second.present).unique()

    return evaluate


Signatures = tuple[Ints, Ints, int]


def _signatures(matching: Matching) -> Callable[[Series, Series], Signatures]:
    """Number the signatures of two series: equal numbers match."""

    def number(left: Series, right: Series) -> Signatures:
        numbers: dict[Hashable, int] = {}
        sides = [
            np.array([numbers.setdefault(matching.signature(one), len(numbers)) for one in side.labels], np.intp)
            for side in (left, right)
        ]
        return sides[0], sides[1], len(numbers)

    return remember(number)


def sets(operator: str, left: Evaluate, right: Evaluate, matching: Matching) -> Evaluate:
    signatures = _signatures(matching)
    joined = remember(Series.joined)

    def evaluate(moment: Moment) -> Vector:
        first, second = left(moment), right(moment)
        one, other, count = signatures(first.series, second.series)
        if operator == "or":
            added = second.present & ~_among(other, one[first.present], count)
            return Vector(
                joined(first.series, second.series),
                np.concatenate([first.values, second.values]),
                np.concatenate([first.present, added]),
            )
        found = _among(one, other[second.present], count)
        return Vector(first.series, first.values, first.present & (found if operator == "and" else ~found))

    return evaluate


def _among(numbers: Ints, known: Ints, count: int) -> Bools:
    table = np.zeros(count, np.bool_)
    table[known] = True
    result: Bools = table[numbers]
    return result


def vectors(operator: str, left: Evaluate, right: Evaluate, matching: Matching, *, as_bool: bool) -> Evaluate:
    """Arithmetic or comparison of two vectors."""
    signatures = _signatures(matching)
    result_series = _ResultSeries(matching, drop_name=operator in ARITHMETIC)
    drop = dropping_names()
    swapped = matching.many == "right"
    arithmetic = ARITHMETIC.get(operator)

    def evaluate(moment: Moment) -> Vector:
        many, one = left(moment), right(moment)
        if not many.present.any() or not one.present.any():
            return NOTHING  # before any check for duplicates, as in Prometheus
        if swapped:
            many, one = one, many
        numbers = signatures(many.series, one.series)
        partner = _partners(numbers, one, matching, swapped=swapped)
        matched = many.present & (partner >= 0)
        partners_values = one.values[partner]
        sides = (partners_values, many.values) if swapped else (many.values, partners_values)
        values = arithmetic(*sides) if arithmetic is not None else sides[0]
        if arithmetic is None:
            kept = COMPARISONS[operator](*sides)
            values = kept.astype(np.float64) if as_bool else values
            # Prometheus 2 lets the filter go first, 3 wants all matches to be unique
            if not as_bool and moment.evaluation.dialect.compat == 2:
                matched &= kept
        _check_matches(numbers[0][matched], numbers[2], matching)
        series = result_series(many.series, one.series, partner)
        if as_bool:
            series = drop(series, moment)
        if matching.many:
            _check_grouping(series, matched)
        if arithmetic is None and not as_bool:
            matched &= kept
        return Vector(series, values, matched).unique()

    return evaluate


def _partners(numbers: Signatures, vector: Vector, matching: Matching, *, swapped: bool) -> Ints:
    """For each element of the many side the place of its match in `vector`, the one side; -1 where there is none."""
    many, one, count = numbers
    owner = np.full(count, -1, np.intp)
    places = np.flatnonzero(vector.present)
    owner[one[places]] = places
    if np.count_nonzero(owner >= 0) < len(places):
        _, repeated = np.unique(one[places], return_inverse=True)
        group = int(np.flatnonzero(np.bincount(repeated) > 1)[0])
        first, second = (vector.series.labels[place] for place in places[repeated == group][:2])
        side = "left" if swapped else "right"
        raise QueryError(
            f"found duplicate series for the match group {matching.describe(first)} on the {side} hand-side of the "
            f"operation: [{in_braces(first)}, {in_braces(second)}];many-to-many matching not allowed: "
            "matching labels must be unique on one side"
        )
    partners: Ints = owner[many]
    return partners


def _check_matches(matched: Ints, count: int, matching: Matching) -> None:
    if not matching.many and np.bincount(matched, minlength=count).max(initial=0) > 1:
        raise QueryError("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")


def _check_grouping(series: Series, matched: Bools) -> None:
    if series.repeats(matched):
        raise QueryError("multiple matches for labels: grouping labels must ensure unique matches")


class _ResultSeries:
    """The label sets of a vector-to-vector operation's result; remembers them while the matches stay the same."""

    def __init__(self, matching: Matching, *, drop_name: bool) -> None:
        self._matching = matching
        self._drop_name = drop_name
        self._plain: Callable[[Series], Series] = remember(lambda many: many.map(self._reduce))
        self._last: tuple[Series, Series, Ints, Series] | None = None

    def __call__(self, many: Series, one: Series, partner: Ints) -> Series:
        if not self._matching.include:
            return self._plain(many)
        last = self._last
        if last is not None and last[0] is many and last[1] is one and np.array_equal(last[2], partner):
            return last[3]
        pairs = zip(many.labels, partner.tolist(), strict=True)
        labels = tuple([self._join(labels, one.labels[place]) if place >= 0 else labels for labels, place in pairs])
        self._last = (many, one, partner, Series(labels, many.doomed))
        return self._last[3]

    def _reduce(self, labels: Labels) -> Labels:
        if self._drop_name:
            labels = labels.without(METADATA)
        if self._matching.many:
            return labels
        return labels.only(self._matching.labels) if self._matching.on else labels.without(self._matching.labels)

    def _join(self, labels: Labels, one: Labels) -> Labels:
        return self._reduce(labels).updated({name: one.value(name) for name in self._matching.include})
