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
from rules.labels import METADATA, NAME, Labels
from rules.promql.evaluation import Moment

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

P = ParamSpec("P")
R = TypeVar("R")


class Series:
    """Label sets in an order that values follow. `doomed` says whose metric name goes at the end; None: nobody's."""

    __slots__ = ("_duplicates", "doomed", "labels")

    def __init__(self, labels: tuple[Labels, ...], doomed: Bools | None = None) -> None:
        self.labels = labels
        self.doomed = doomed
        self._duplicates: Ints | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def repeats(self, present: Bools) -> bool:
        """Whether a label set occurs more than once among those present."""
        if self._duplicates is None:
            self._duplicates = _find_duplicates(self.labels)
        if not len(self._duplicates):
            return False
        groups = self._duplicates[present[self._duplicates[:, 0]], 1]
        return len(np.unique(groups)) < len(groups)

    def map(self, change: Callable[[Labels], Labels]) -> Series:
        return Series(tuple(map(change, self.labels)), self.doomed)

    def take(self, places: Ints) -> Series:
        doomed = None if self.doomed is None else self.doomed[places]
        return Series(tuple([self.labels[place] for place in places.tolist()]), doomed)

    @staticmethod
    def joined(first: Series, second: Series) -> Series:
        doomed = None
        if first.doomed is not None or second.doomed is not None:
            doomed = np.concatenate([_flags(first), _flags(second)])
        return Series(first.labels + second.labels, doomed)


def _flags(series: Series) -> Bools:
    return np.zeros(len(series), np.bool_) if series.doomed is None else series.doomed


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
        places = np.flatnonzero(self.present)
        return zip((labels[place] for place in places.tolist()), self.values[places].tolist(), strict=True)

    def unique(self) -> Vector:
        """Itself. Raises QueryError where two elements present have the same labels."""
        if self.series.repeats(self.present):
            raise QueryError("vector cannot contain metrics with the same labelset")
        return self


def single(labels: Labels, value: float) -> Vector:
    return Vector(Series((labels,)), np.array([value]), np.ones(1, np.bool_))


NOTHING = Vector(Series(()), np.empty(0), np.empty(0, np.bool_))


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


def dropping_names() -> Callable[[Series, Moment], Series]:
    """Takes the metric names from the result of a computation: at once, or at the end where the dialect says so."""
    at_once, later = remember(nameless), remember(_doomed)

    def drop(series: Series, moment: Moment) -> Series:
        return later(series) if moment.evaluation.dialect.delayed_names else at_once(series)

    return drop


def nameless(series: Series) -> Series:
    """The series without metric names, nor what is said of the metric (`__type__`, `__unit__`)."""
    return Series(tuple([bare(labels) for labels in series.labels]))


def bare(labels: Labels) -> Labels:
    # what is said of a metric sorts behind its name and before nearly all else
    if labels.name or any(name in METADATA for name, _ in labels.pairs):
        return labels.without(METADATA)
    return labels


def _doomed(series: Series) -> Series:
    return Series(series.labels, np.ones(len(series), np.bool_))


def buried(series: Series) -> Series:
    """The series once the doomed names are gone."""
    if series.doomed is None:
        return series
    pairs = zip(series.labels, series.doomed.tolist(), strict=True)
    return Series(tuple([bare(labels) if doomed else labels for labels, doomed in pairs]))


__all__ = [
    "NAME",
    "NOTHING",
    "Bools",
    "Floats",
    "Ints",
    "Moment",
    "Series",
    "Vector",
    "bare",
    "buried",
    "dropping_names",
    "nameless",
    "remember",
    "single",
]
