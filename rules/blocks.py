"""Blocks of samples: one metric from one source; a row is one batch with one timestamp, a column one series."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from rules.labels import Labels

LOOKBACK = 300.0  # seconds; Prometheus's query.lookback-delta

# Prometheus's stale marker: a NaN that no computation yields. Here it means "no sample" in every sense.
_STALE_BITS = np.uint64(0x7FF0000000000002)
STALE: float = struct.unpack("<d", struct.pack("<Q", int(_STALE_BITS)))[0]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def is_sample(values: Floats) -> Bools:
    """Where there is a sample. `values` must be contiguous in its last axis."""
    present: Bools = values.view(np.uint64) != _STALE_BITS
    return present


class Block:
    """The samples of one metric from one source. `window` is how many seconds of history are kept.

    A sample counts for `fresh_for` seconds, unless a newer one or a stale marker follows.
    """

    __slots__ = ("_begin", "_end", "_rows", "_times", "fresh_for", "labels", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.fresh_for = LOOKBACK
        self.labels: tuple[Labels, ...] = ()
        self._times = np.empty(1)
        self._rows = np.empty((1, 0))
        self._begin = self._end = 0

    @property
    def cells(self) -> int:
        """How many samples there is room for: what it costs in memory, 8 bytes each."""
        return self._rows.size

    @property
    def newest(self) -> float:
        """The time of the newest row, -inf where there is none."""
        return float(self._times[self._end - 1]) if self._end > self._begin else -np.inf

    @property
    def empty(self) -> bool:
        """True when it holds no sample at all."""
        return not is_sample(self._rows[self._begin : self._end]).any()

    def growth(self, time: float, labels: tuple[Labels, ...] | None = None) -> int:
        """The cells that an `append` at `time` would add, after a `relabel` where there are `labels`."""
        columns = self._rows.shape[1] if labels is None else len(self._columns(labels))
        begin, end = self._span(time)
        rows = self._larger(end - begin) if end == len(self._rows) else len(self._rows)
        return rows * columns - self.cells

    def _columns(self, labels: tuple[Labels, ...]) -> NDArray[np.intp]:
        """Where the columns of `labels` are now, -1 for new ones, and behind them the others that have history."""
        known = {one: place for place, one in enumerate(self.labels)}
        places = np.array([known.get(one, -1) for one in labels], np.intp)
        others: Bools = np.logical_or.reduce(is_sample(self._rows[self._begin : self._end]), axis=0)
        others[places[places >= 0]] = False
        return np.concatenate([places, np.flatnonzero(others)])

    def relabel(self, labels: tuple[Labels, ...]) -> None:
        """Make `labels`, which must be distinct, the first columns; keep others only while they have history."""
        places = self._columns(labels)
        old = places >= 0
        matrix = np.full((len(self._rows), len(places)), STALE)
        matrix[self._begin : self._end, old] = self._rows[self._begin : self._end, places[old]]
        self.labels = (*labels, *[self.labels[place] for place in places[len(labels) :].tolist()])
        self._rows = matrix

    def append(self, time: float, values: Floats) -> None:
        """Add a batch's values for the first columns; the other columns are stale from now on.

        Rows stamped later than `time` (the clock was set back) are forgotten.
        """
        self._begin, self._end = self._span(time)
        if self._end == len(self._rows):
            self._make_room()
        row = self._rows[self._end]
        row[: len(values)] = values
        row[len(values) :] = STALE
        self._times[self._end] = time
        self._end += 1

    def _span(self, time: float) -> tuple[int, int]:
        """First and end of the rows that stay when one of `time` follows."""
        times = self._times[self._begin : self._end]
        end = self._begin + int(np.searchsorted(times, time))
        begin = self._begin + int(np.searchsorted(times, time - self.window, side="right"))
        return min(begin, end), end

    def _larger(self, used: int) -> int:
        return len(self._rows) if used <= len(self._rows) // 2 else max(4, len(self._rows) * 3 // 2)

    def _make_room(self) -> None:
        used = self._end - self._begin
        size = self._larger(used)
        rows, times = np.empty((size, self._rows.shape[1])), np.empty(size)
        rows[:used] = self._rows[self._begin : self._end]
        times[:used] = self._times[self._begin : self._end]
        self._rows, self._times, self._begin, self._end = rows, times, 0, used

    def at(self, time: float, *, closed: bool = False) -> tuple[float, Floats] | None:
        """Timestamp and row of the newest batch at `time`, None where it is too old.

        `closed`: a batch that is exactly `fresh_for` old still counts, as in Prometheus 2.
        """
        row = self._end - 1
        if row >= self._begin and self._times[row] > time:  # nearly always the newest is wanted
            row = self._begin + int(np.searchsorted(self._times[self._begin : self._end], time, side="right")) - 1
        if row < self._begin:
            return None
        age = time - self._times[row]
        if age > self.fresh_for or (age == self.fresh_for and not closed):
            return None
        return float(self._times[row]), self._rows[row]

    def between(self, start: float, end: float, *, closed: bool = False) -> tuple[Floats, Floats]:
        """Timestamps and rows with start < time <= end, or start <= time <= end where `closed`."""
        times = self._times[self._begin : self._end]
        first = int(np.searchsorted(times, start, side="left" if closed else "right"))
        last = int(np.searchsorted(times, end, side="right"))
        return times[first:last], self._rows[self._begin + first : self._begin + last]
