"""What expressions work on: columns of values over an immutable tuple of label sets.

Label work is a pure function of `Series` objects, and a selector returns the same object while its label sets stay the
same. So `remember` makes label work a matter of the first evaluation only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from rules.errors import QueryError
from rules.labels import NAME, Labels
from rules.store import SampleStore

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

P = ParamSpec("P")
R = TypeVar("R")


class Series:
    """Label sets in an order that values follow."""

    __slots__ = ("_duplicates", "labels")

    def __init__(self, labels: tuple[Labels, ...]) -> None:
        self.labels = labels
        self._duplicates: Ints | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def repeats(self, present: Bools) -> bool:
        """Whether a label set occurs more than once among those present."""
        if self._duplicates is None:
            self._duplicates = _find_duplicates(self.labels)
        groups = self._duplicates[present[self._duplicates[:, 0]], 1]
        return len(np.unique(groups)) < len(groups)

    def map(self, change: Callable[[Labels], Labels]) -> Series:
        return Series(tuple(map(change, self.labels)))


def _find_duplicates(labels: tuple[Labels, ...]) -> Ints:
    """Position and group number of each label set that occurs more than once; shape (k, 2)."""
    if len(set(labels)) == len(labels):
        return np.empty((0, 2), np.intp)
    places: dict[Labels, list[int]] = {}
    for place, one in enumerate(labels):
        places.setdefault(one, []).append(place)
    found = [(place, group) for group, many in enumerate(places.values()) if len(many) > 1 for place in many]
    return np.array(found, np.intp)


@dataclass(frozen=True, slots=True)
class Vector:
    """An instant vector: values[i] belongs to series.labels[i] and counts only where present[i]."""

    series: Series
    values: Floats
    present: Bools

    def samples(self) -> Iterator[tuple[Labels, float]]:
        labels = self.series.labels
        for place in np.flatnonzero(self.present):
            yield labels[place], float(self.values[place])

    def unique(self) -> Vector:
        """Itself. Raises QueryError where two elements present have the same labels."""
        if self.series.repeats(self.present):
            raise QueryError("vector cannot contain metrics with the same labelset")
        return self


def single(labels: Labels, value: float) -> Vector:
    return Vector(Series((labels,)), np.array([value]), np.ones(1, np.bool_))


NOTHING = Vector(Series(()), np.empty(0), np.empty(0, np.bool_))


@dataclass(frozen=True, slots=True)
class Moment:
    """Where and when an expression is evaluated; `time` in unix seconds."""

    store: SampleStore
    time: float


def remember(work: Callable[P, R]) -> Callable[P, R]:
    """`work` with its last answer kept, for as long as it is asked about the very same objects."""
    last: list[tuple[tuple[object, ...], R]] = []

    def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
        if last and len(last[0][0]) == len(args) and all(map(_same, last[0][0], args)):
            return last[0][1]
        answer = work(*args, **kwargs)
        last[:] = [(args, answer)]
        return answer

    return remembered


def _same(one: object, other: object) -> bool:
    return one is other


def nameless(series: Series) -> Series:
    """The series without metric names, as the result of every computation has none."""
    return series.map(lambda labels: labels.without((NAME,)) if labels.name else labels)
