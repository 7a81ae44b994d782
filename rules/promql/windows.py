"""Range vectors: what a range selector or a subquery hands to a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rules.labels import Labels
from rules.promql.evaluation import Moment
from rules.promql.vector import Bools, Floats, Ints, Series, Vector


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of some series over a time range; rows are their common times. `part`: where they are in the result.

    `present` is None where every series has a sample in every row, the usual case.
    """

    part: slice
    times: Floats  # unix seconds, ascending, shape (rows,)
    values: Floats  # shape (rows, series)
    present: Bools | None  # same shape

    @property
    def mask(self) -> Bools:
        """`present`, spelled out."""
        return np.ones(self.values.shape, np.bool_) if self.present is None else self.present

    @property
    def seen(self) -> Bools:
        """Which series have a sample at all."""
        if self.present is None:
            return np.full(self.values.shape[1], len(self.times) > 0)
        result: Bools = np.logical_or.reduce(self.present, axis=0)
        return result


@dataclass(frozen=True, slots=True)
class Range:
    """The times (start, end], or [start, end] in the dialect of Prometheus 2; unix seconds.

    `seconds` is its length as written; `now` the time of the evaluation, which an offset leaves as it is.
    """

    start: float
    end: float
    seconds: float
    now: float
    compat: int = 3


@dataclass(frozen=True, slots=True)
class Windows:
    """A range vector: the windows cover `series` in parts, each series at most once."""

    series: Series
    parts: Sequence[Window]
    range: Range


Ranged = Callable[[Moment], Windows]


@dataclass(frozen=True, slots=True)
class Reach:
    """Which moment is meant: `at` (unix seconds, "start", "end", None: the step's) minus `offset` (seconds)."""

    offset: float = 0.0
    at: float | str | None = None

    def __call__(self, moment: Moment) -> float:
        base = moment.time
        if self.at is not None:
            ends = {"start": moment.evaluation.start, "end": moment.evaluation.end}
            base = ends[self.at] if isinstance(self.at, str) else self.at
        return round(base - self.offset, 3) if self.offset else base


@dataclass(slots=True)
class Subquery:
    """An instant expression evaluated at each multiple of `step` (seconds) within a range of `seconds`."""

    inner: Callable[[Moment], Vector]
    seconds: float
    step: float
    reach: Reach = field(default_factory=Reach)

    def __call__(self, moment: Moment) -> Windows:
        compat = moment.evaluation.dialect.compat
        end = self.reach(moment)
        range_ = Range(round(end - self.seconds, 3), end, self.seconds, moment.time, compat)
        times, vectors = [], []
        steps = _steps(range_.start, end, self.step, closed=compat == 2)
        moment.evaluation.spend(_STEP_COST * len(steps))
        for milliseconds in steps:
            time = milliseconds / 1000
            vector = self.inner(moment.at(time))
            times.append(time)
            vectors.append(vector)
        series, values, present = stacked(vectors)
        window = Window(slice(0, len(series)), np.array(times), values, None if present.all() else present)
        return Windows(series, [window], range_)


_STEP_COST = 20  # samples; a year by the second is refused before it has begun


def _steps(start: float, end: float, step: float, *, closed: bool) -> range:
    """The multiples of `step` (seconds) in the range, in milliseconds so that none is missed."""
    first, last, every = round(start * 1000), round(end * 1000), max(1, round(step * 1000))
    place = -(-first // every) * every
    if place == first and not closed:
        place += every
    return range(place, last + 1, every)


def stacked(vectors: Sequence[Vector]) -> tuple[Series, Floats, Bools]:
    """The vectors of many steps as one matrix with a row for each; series in the order of their first sight."""
    if not vectors:
        return Series(()), np.empty((0, 0)), np.empty((0, 0), np.bool_)
    first = vectors[0].series
    if all(vector.series is first for vector in vectors) and len(set(first.labels)) == len(first):
        return first, np.array([vector.values for vector in vectors]), np.array([vector.present for vector in vectors])
    columns: dict[Labels, int] = {}
    doomed: dict[Labels, bool] = {}
    placed: list[Ints] = []
    for vector in vectors:
        places = np.flatnonzero(vector.present)
        labels = vector.series.labels
        placed.append(np.array([columns.setdefault(labels[place], len(columns)) for place in places], np.intp))
        if vector.series.doomed is not None:
            doomed |= {labels[place]: bool(vector.series.doomed[place]) for place in places}
    values = np.zeros((len(vectors), len(columns)))
    present = np.zeros(values.shape, np.bool_)
    for row, (vector, columns_here) in enumerate(zip(vectors, placed, strict=True)):
        values[row, columns_here], present[row, columns_here] = vector.values[vector.present], True
    flags = np.array([doomed.get(labels, False) for labels in columns], np.bool_) if doomed else None
    return Series(tuple(columns), flags), values, present
