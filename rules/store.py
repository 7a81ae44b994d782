"""The sample store: what the collectors and the rules themselves have found, ready to be evaluated.

Samples lie in blocks, one per source and metric, time-major: a row is one batch with one timestamp, a column one
series. A block keeps only the history that the loaded rules read; most keep a single row. A batch whose label sets are
those of the batch before costs no label work at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rules.labels import Labels

LOOKBACK = 300.0  # seconds; Prometheus's query.lookback-delta
_SLACK = 60.0  # seconds of history beyond a window, for evaluations that come late

# Prometheus's stale marker: a NaN that no computation yields. Here it means "no sample" in every sense.
_STALE_BITS = np.uint64(0x7FF0000000000002)
_STALE = np.array([_STALE_BITS]).view(np.float64)[0]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def is_sample(values: Floats) -> Bools:
    """Where there is a sample. `values` must be contiguous in its last axis."""
    present: Bools = values.view(np.uint64) != _STALE_BITS
    return present


def _ever_sampled(rows: Floats) -> Bools:
    result: Bools = np.logical_or.reduce(is_sample(rows), axis=0)
    return result


class Block:
    """The samples of one metric from one source. `window` is how many seconds of history are kept; 0 is one row."""

    __slots__ = ("_begin", "_end", "_rows", "_times", "fresh_for", "labels", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.fresh_for = LOOKBACK
        self.labels: tuple[Labels, ...] = ()
        self._times = np.empty(1)
        self._rows = np.empty((1, 0))
        self._begin = self._end = 0

    def relabel(self, labels: tuple[Labels, ...]) -> None:
        """Make `labels`, which must be distinct, the first columns; keep others only while they have history."""
        rows = self._rows[self._begin : self._end]
        kept = _ever_sampled(rows) if self.window else np.zeros(len(self.labels), np.bool_)
        wanted = dict.fromkeys(labels)
        others = [one for one, alive in zip(self.labels, kept, strict=True) if alive and one not in wanted]
        columns = (*labels, *others)
        matrix = np.full((len(self._rows), len(columns)), _STALE)
        if self.window:
            places = {one: place for place, one in enumerate(columns)}
            old = [place for place, one in enumerate(self.labels) if one in places]
            new = [places[self.labels[place]] for place in old]
            matrix[self._begin : self._end, new] = rows[:, old]
        self.labels, self._rows = columns, matrix

    def append(self, time: float, values: Floats) -> None:
        """Add a batch's values for the first columns; the other columns are stale from now on.

        Rows stamped later than `time` (the clock was set back) are forgotten.
        """
        if self.window:
            times = self._times[self._begin : self._end]
            self._end = self._begin + int(np.searchsorted(times, time))
            self._begin += min(int(np.searchsorted(times, time - self.window, side="right")), self._end - self._begin)
            if self._end == len(self._rows):
                self._make_room()
        else:
            self._begin = self._end = 0
        row = self._rows[self._end]
        row[: len(values)] = values
        row[len(values) :] = _STALE
        self._times[self._end] = time
        self._end += 1

    def _make_room(self) -> None:
        used = self._end - self._begin
        size = len(self._rows) if used <= len(self._rows) // 2 else 2 * len(self._rows)
        rows, times = np.empty((size, self._rows.shape[1])), np.empty(size)
        rows[:used] = self._rows[self._begin : self._end]
        times[:used] = self._times[self._begin : self._end]
        self._rows, self._times, self._begin, self._end = rows, times, 0, used

    def at(self, time: float) -> tuple[float, Floats] | None:
        """Timestamp and row of the newest batch at `time`, None where it is too old.

        A block without history shows its row even when stamped later: after the clock was set back, the newest fact
        is still the best one.
        """
        if self.window:
            row = self._begin + int(np.searchsorted(self._times[self._begin : self._end], time, side="right")) - 1
        else:
            row = self._end - 1
        if row < self._begin or time - self._times[row] >= self.fresh_for:
            return None
        return float(self._times[row]), self._rows[row]

    def between(self, start: float, end: float) -> tuple[Floats, Floats]:
        """Timestamps and rows with start < time <= end (left-open, as in Prometheus 3)."""
        times = self._times[self._begin : self._end]
        first, last = np.searchsorted(times, [start, end], side="right")
        return times[first:last], self._rows[self._begin + first : self._begin + last]

    @property
    def empty(self) -> bool:
        """True when it holds no sample at all."""
        return not is_sample(self._rows[self._begin : self._end]).any()


@dataclass(slots=True)
class Metric:
    """All blocks of one metric name. `generation` changes with every change of label sets, never with values alone."""

    blocks: dict[str, Block] = field(default_factory=dict)
    generation: int = 0


@dataclass(slots=True)
class _Source:
    labels: list[Labels] | None = None
    names: tuple[str, ...] = ()
    parts: list[tuple[Block, NDArray[np.intp]]] = field(default_factory=list)


class SampleStore:
    """The newest samples of every source, and the history that the loaded rules read."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._sources: dict[str, _Source] = {}
        self._wanted: frozenset[str] | None = None
        self._windows: Mapping[str, float] = {}
        self.generation = 0  # changes when a metric name is seen for the first time

    def wanted(self, names: Iterable[str] | None, windows: Mapping[str, float] | None = None) -> None:
        """Land only these metrics from now on (None: all), keeping `windows[name]` seconds of each.

        A metric that becomes wanted appears with the next batch of its source.
        """
        self._wanted = None if names is None else frozenset(names)
        self._windows = dict(windows or {})
        for source in self._sources.values():
            source.labels = None
        for name, metric in self._metrics.items():
            for block in metric.blocks.values():
                block.window = self._window(name)

    def wants(self, name: str) -> bool:
        return self._wanted is None or name in self._wanted

    def _window(self, name: str) -> float:
        window = self._windows.get(name, 0.0)
        return window + _SLACK if window else 0.0

    def metric(self, name: str) -> Metric:
        """The metric of that name, empty where nothing has landed yet; the same object for ever."""
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Metric()
            self.generation += 1
        return metric

    def names(self) -> list[str]:
        return list(self._metrics)

    def sources(self) -> list[str]:
        return list(self._sources)

    def land(
        self, source: str, time: float, series: Sequence[tuple[Labels, float]], *, fresh_for: float = LOOKBACK
    ) -> None:
        """Replace what `source` (an environment's collector, a rule) said before; what it no longer says is stale.

        `time` in unix seconds. The batch counts for `fresh_for` seconds: a source that comes less often than every
        five minutes must say so, or its series vanish in between. Of two equal label sets the last one counts.
        """
        time = round(time, 3)  # milliseconds, Prometheus's resolution, so that window borders are exact
        held = self._sources.setdefault(source, _Source())
        labels = [one for one, _ in series]
        if labels != held.labels:
            self._lay_out(source, held, labels)
        values = np.fromiter((value for _, value in series), np.float64, len(series))
        for block, places in held.parts:
            block.fresh_for = fresh_for
            block.append(time, values[places])
        if len(held.parts) > len(held.names):
            self._forget_ended(source, held)

    def drop(self, source: str) -> None:
        """Forget a source and its history."""
        held = self._sources.pop(source, _Source())
        for metric in self._metrics.values():
            if held.parts and source in metric.blocks:
                del metric.blocks[source]
                metric.generation += 1

    def _lay_out(self, source: str, held: _Source, labels: list[Labels]) -> None:
        places: dict[str, dict[Labels, int]] = {}
        for place, one in enumerate(labels):
            if self.wants(one.name):
                places.setdefault(one.name, {})[one] = place
        ended = [name for name, metric in self._metrics.items() if source in metric.blocks and name not in places]
        held.parts = []
        for name, columns in [*places.items(), *((name, dict[Labels, int]()) for name in ended)]:
            metric = self.metric(name)
            block = metric.blocks.get(source)
            if block is None:
                block = metric.blocks[source] = Block(self._window(name))
            if block.labels != tuple(columns):
                block.relabel(tuple(columns))
                metric.generation += 1
            held.parts.append((block, np.fromiter(columns.values(), np.intp, len(columns))))
        held.labels, held.names = labels, tuple(places)

    def _forget_ended(self, source: str, held: _Source) -> None:
        """Metrics that left the batch go as soon as no window can see them any more."""
        for name, metric in self._metrics.items():
            block = metric.blocks.get(source)
            if block is not None and name not in held.names and block.empty:
                del metric.blocks[source]
                metric.generation += 1
                held.parts = [part for part in held.parts if part[0] is not block]
