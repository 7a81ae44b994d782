"""Selectors: from matchers to columns of the sample store."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rules.labels import Labels
from rules.promql.matchers import Matchers
from rules.promql.vector import Bools, Floats, Ints, Moment, Series, Vector
from rules.store import Block, Metric, SampleStore, is_sample


@dataclass(frozen=True, slots=True)
class _Pick:
    """The wanted columns of one block; `columns` is None for all of them."""

    block: Block
    columns: Ints | None
    part: slice  # where they stand in the result

    def take(self, rows: Floats) -> Floats:
        return rows if self.columns is None else np.ascontiguousarray(rows[..., self.columns])


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of some series over a time range; rows are batches. `part` says where they stand in the result."""

    part: slice
    times: Floats  # seconds, shape (rows,)
    values: Floats  # shape (rows, series)
    present: Bools  # same shape

    @property
    def seen(self) -> Bools:
        """Which series have a sample at all."""
        result: Bools = np.logical_or.reduce(self.present, axis=0)
        return result


@dataclass(slots=True)
class Selector:
    """Finds series once and then only reads their values, until label sets change.

    A label set that several sources have is one series, as in Prometheus: the newest sample counts.
    """

    matchers: Matchers
    series: Series = field(default_factory=lambda: Series(()))
    _picks: list[_Pick] = field(default_factory=list)
    _metrics: list[Metric] = field(default_factory=list)
    _store: SampleStore | None = None
    _seen: tuple[int, ...] = ()
    _owner: Ints | None = None  # column to place in `series`, where several sources have the same label set
    _columns: int = 0
    _names: int = -1  # the store's generation when its metric names were looked through

    def __call__(self, moment: Moment) -> Vector:
        return self._read(moment)[0]

    def timestamps(self, moment: Moment) -> Vector:
        """The samples' timestamps in place of their values."""
        vector, times = self._read(moment)
        return Vector(vector.series, times, vector.present)

    def windows(self, moment: Moment, start: float) -> list[Window]:
        """The samples after `start` and up to the moment."""
        self._find(moment.store)
        found = []
        for pick in self._picks:
            times, rows = pick.block.between(start, moment.time)
            values = pick.take(rows)
            found.append(Window(pick.part, times, values, is_sample(values)))
        return found if self._owner is None else [self._merged(found, self._owner)]

    def _read(self, moment: Moment) -> tuple[Vector, Floats]:
        self._find(moment.store)
        values, times = np.zeros(self._columns), np.zeros(self._columns)
        present = np.zeros(self._columns, np.bool_)
        for pick in self._picks:
            found = pick.block.at(moment.time)
            if found is not None:
                taken = pick.take(found[1])
                times[pick.part], values[pick.part], present[pick.part] = found[0], taken, is_sample(taken)
        if self._owner is not None:
            newest = self._newest(times, present, self._owner)
            values, times, present = values[newest], times[newest], present[newest]
        return Vector(self.series, values, present), times

    def _newest(self, times: Floats, present: Bools, owner: Ints) -> Ints:
        """Of the columns of each series the one with the newest sample."""
        order = np.lexsort((np.where(present, times, -np.inf), owner))
        last: Ints = np.searchsorted(owner[order], np.arange(len(self.series)), side="right") - 1
        newest: Ints = order[last]
        return newest

    def _merged(self, windows: list[Window], owner: Ints) -> Window:
        """One window in which each series has the samples of all its sources."""
        times: Floats = np.unique(np.concatenate([window.times for window in windows]))
        values = np.zeros((len(times), len(self.series)))
        present = np.zeros(values.shape, np.bool_)
        for window in windows:
            rows, columns = np.nonzero(window.present)
            places = np.searchsorted(times, window.times)[rows], owner[window.part][columns]
            values[places], present[places] = window.values[rows, columns], True
        return Window(slice(0, len(self.series)), times, values, present)

    def _find(self, store: SampleStore) -> None:
        if store is not self._store or (self.matchers.name is None and self._names != store.generation):
            self._store, self._names, self._seen = store, store.generation, ()
            name, match = self.matchers.name, self.matchers.match_name
            names = [name] if name is not None else sorted(filter(match, store.names()))
            self._metrics = [store.metric(one) for one in names]
        generations = tuple(metric.generation for metric in self._metrics)
        if generations != self._seen or not self._seen:
            self._seen = generations
            self._pick()

    def _pick(self) -> None:
        self._picks = []
        labels: list[Labels] = []
        match = self.matchers.match
        for metric in self._metrics:
            for block in metric.blocks.values():
                places = [place for place, one in enumerate(block.labels) if match(one)]
                if not places:
                    continue
                every = len(places) == len(block.labels)
                part = slice(len(labels), len(labels) + len(places))
                self._picks.append(_Pick(block, None if every else np.array(places, np.intp), part))
                labels += [block.labels[place] for place in places]
        distinct = {one: place for place, one in enumerate(dict.fromkeys(labels))}
        self.series, self._columns = Series(tuple(distinct)), len(labels)
        repeated = len(distinct) < len(labels)
        self._owner = np.array([distinct[one] for one in labels], np.intp) if repeated else None
