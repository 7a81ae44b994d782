"""Selectors: from matchers to columns of the sample store."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rules.labels import Labels
from rules.promql.evaluation import Moment
from rules.promql.matchers import Matchers
from rules.promql.vector import Bools, Floats, Ints, Series, Vector
from rules.promql.windows import Range, Reach, Window, Windows
from rules.store import STALE, Block, Metric, SampleStore, is_sample


@dataclass(frozen=True, slots=True)
class _Pick:
    """The wanted columns of one block; `columns` is None for all of them."""

    block: Block
    columns: Ints | None
    part: slice  # where they stand in the result

    def take(self, rows: Floats) -> Floats:
        return rows if self.columns is None else np.ascontiguousarray(rows[..., self.columns])


@dataclass(slots=True)
class Selector:
    """Finds series once and then only reads their values, until label sets change.

    A label set that several sources have is one series, as in Prometheus: the newest sample counts.
    """

    matchers: Matchers
    reach: Reach = field(default_factory=Reach)
    series: Series = field(default_factory=lambda: Series(()))
    _picks: list[_Pick] = field(default_factory=list)
    _metrics: list[Metric] = field(default_factory=list)
    _store: SampleStore | None = None
    _seen: tuple[int, ...] | None = None  # the generations of `_metrics` when their columns were picked
    _owner: Ints | None = None  # column to place in `series`, where several sources have the same label set
    _columns: int = 0
    _names: int = -1  # the store's generation when its metric names were looked through

    def __call__(self, moment: Moment) -> Vector:
        return self._read(moment)[0]

    def timestamps(self, moment: Moment) -> Vector:
        """The samples' timestamps in place of their values."""
        vector, times = self._read(moment)
        return Vector(vector.series, times, vector.present)

    def windows(self, moment: Moment, seconds: float) -> Windows:
        """The samples of the last `seconds`."""
        self._find(moment.store)
        end, compat = self.reach(moment), moment.evaluation.dialect.compat
        # milliseconds, as sample times are
        range_ = Range(round(end - seconds, 3), end, seconds, moment.time, compat)
        found = []
        for pick in self._picks:
            times, rows = pick.block.between(range_.start, end, closed=compat == 2)
            moment.evaluation.spend(rows.size)
            values = pick.take(rows)
            present = is_sample(values)
            found.append(Window(pick.part, times, values, None if present.all() else present))
        parts = found if self._owner is None else [self._merged(found, self._owner)]
        return Windows(self.series, parts, range_)

    def _read(self, moment: Moment) -> tuple[Vector, Floats]:
        self._find(moment.store)
        moment.evaluation.spend(self._columns)
        time, closed = self.reach(moment), moment.evaluation.dialect.compat == 2
        values, times = np.full(self._columns, STALE), np.zeros(self._columns)
        for pick in self._picks:
            found = pick.block.at(time, closed=closed)
            if found is not None:
                times[pick.part], values[pick.part] = found[0], pick.take(found[1])
        present = is_sample(values)
        values[~present] = 0.0
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
            rows, columns = np.nonzero(window.mask)
            places = np.searchsorted(times, window.times)[rows], owner[window.part][columns]
            values[places], present[places] = window.values[rows, columns], True
        return Window(slice(0, len(self.series)), times, values, present)

    def _find(self, store: SampleStore) -> None:
        if store is not self._store or self._names != store.generation:
            self._store, self._names = store, store.generation
            metrics = self._named(store)
            if metrics != self._metrics:
                self._metrics, self._seen = metrics, None
        generations = tuple([metric.generation for metric in self._metrics])
        if generations != self._seen:
            self._seen = generations
            self._pick()

    def _named(self, store: SampleStore) -> list[Metric]:
        name = self.matchers.name
        names = [name] if name is not None else sorted(filter(self.matchers.match_name, store.names()))
        return [metric for metric in map(store.metric, names) if metric is not None]

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
