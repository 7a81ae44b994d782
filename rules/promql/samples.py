"""What functions over a time range compute on: the samples of some series, without gaps between them.

Sums are compensated (Kahan's method in Neumaier's variant, as in util/kahansum of Prometheus), so that cancellation
eats no digits and the results are Prometheus's to the last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rules.promql.vector import Bools, Floats, Ints

_NARROW = 16  # columns that Python adds up faster than NumPy, which is called for each row


@dataclass(frozen=True, slots=True)
class Samples:
    """Each column is a series and has at least one sample. Its samples are the first `counts` rows, oldest first.

    `counts` is None where every row is a sample of every series, the usual case; `times` (unix seconds) has one column
    then, else as many as `values`.
    """

    times: Floats
    values: Floats
    counts: Ints | None = None

    @classmethod
    def packed(cls, times: Floats, values: Floats, present: Bools) -> Samples:
        """From rows at common `times` with gaps where not `present`."""
        rows, columns = np.nonzero(present)
        place = np.cumsum(present, axis=0)[rows, columns] - 1
        counts = np.count_nonzero(present, axis=0)
        shape = (int(counts.max(initial=0)), values.shape[1])
        packed_times, packed_values = np.zeros(shape), np.zeros(shape)
        packed_times[place, columns] = times[rows]
        packed_values[place, columns] = values[rows, columns]
        return cls(packed_times, packed_values, counts)

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def count(self) -> Ints:
        """How many samples each series has; one number where they are the same."""
        return np.array([len(self.values)]) if self.counts is None else self.counts

    @property
    def mask(self) -> Bools | None:
        """Where the samples are; None for everywhere."""
        return None if self.counts is None else np.arange(len(self.values))[:, None] < self.counts

    def at(self, places: Ints) -> Samples:
        """Those of some of the series."""
        if self.counts is None:
            return Samples(self.times, self.values[:, places])
        return Samples(self.times[:, places], self.values[:, places], self.counts[places])

    def with_(self, least: int) -> Bools:
        """Which series have at least so many samples."""
        return np.broadcast_to(self.count >= least, (self.width,))

    def from_end(self, place: int) -> tuple[Floats, Floats]:
        """Times and values of the last sample (place 1), the one before it (2) ... where there are so many."""
        if self.counts is None:
            place = min(place, len(self.values))
            return self.times[-place], self.values[-place]
        rows, columns = np.maximum(self.counts - place, 0), np.arange(self.width)
        return self.times[rows, columns], self.values[rows, columns]

    def filled(self, rows: Floats, filler: float) -> Floats:
        """`rows`, of the shape of `values`, with `filler` where there is no sample."""
        mask = self.mask
        return rows if mask is None else np.where(mask, rows, filler)


def seconds(differences: Floats) -> Floats:
    """Differences of times, exact to the millisecond as sample times are."""
    exact: Floats = np.rint(differences * 1000) / 1000
    return exact


def add(total: Floats, lost: Floats, more: Floats) -> tuple[Floats, Floats]:
    """Add `more` to a sum and the digits that it lost so far. An infinite sum has lost none."""
    added = total + more
    part = added - total
    carried = lost + ((total - (added - part)) + (more - part))
    return added, np.where(np.isinf(added), 0.0, carried)


def compensated(rows: Floats) -> tuple[Floats, Floats]:
    """The sums over rows and the digits that they lost."""
    if rows.shape[1] <= _NARROW:
        sums = [_compensated(column) for column in rows.T.tolist()]
        total, lost = np.array(sums, np.float64).reshape(-1, 2).T
        return total, lost
    total, lost = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for row in rows:
        added = total + row
        part = added - total
        lost += (total - (added - part)) + (row - part)
        total = added
    return total, np.where(np.isinf(total), 0.0, lost)


def _compensated(values: list[float]) -> tuple[float, float]:
    total = lost = 0.0
    for value in values:
        added = total + value
        part = added - total
        lost += (total - (added - part)) + (value - part)
        total = added
    return total, 0.0 if math.isinf(total) else lost


def quantile_places(phi: float, counts: Ints) -> tuple[Ints, Ints, Floats]:
    """Between which two of `counts` sorted values the quantile lies, and how near to the second; 0 <= phi <= 1."""
    rank = phi * (counts - 1.0)
    lower = np.floor(rank)
    upper = np.minimum(counts - 1, lower + 1)
    return lower.astype(np.intp), upper.astype(np.intp), rank - lower


def improper_quantile(phi: float) -> float | None:
    """What every quantile is where phi is not between 0 and 1; None where it is."""
    if 0 <= phi <= 1:
        return None
    return math.inf if phi > 1 else -math.inf if phi < 0 else math.nan
