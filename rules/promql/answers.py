"""What a query answers, in Prometheus's four result types, and how the answer of many steps is put together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rules.errors import QueryError
from rules.labels import Labels
from rules.promql.vector import Floats, Vector, buried, remember
from rules.promql.windows import Windows, stacked

Kind = Literal["vector", "scalar", "matrix", "string"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The part that `kind` names counts. Times in unix seconds; warnings and infos are Prometheus's annotations."""

    kind: Kind
    vector: list[tuple[Labels, float]] = field(default_factory=list)
    matrix: list[tuple[Labels, Floats, Floats]] = field(default_factory=list)  # labels, times, values
    scalar: float = math.nan
    string: str = ""
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


class Finish:
    """The last step of an evaluation: doomed names go, and no two elements may then have the same labels."""

    def __init__(self) -> None:
        self._buried = remember(buried)

    def __call__(self, vector: Vector) -> Vector:
        return Vector(self._buried(vector.series), vector.values, vector.present).unique()


def steps(start: float, end: float, step: float) -> Iterator[float]:
    """The times from `start` to `end`, `step` seconds apart, counted in milliseconds."""
    return (one / 1000 for one in range(round(start * 1000), round(end * 1000) + 1, max(1, round(step * 1000))))


def raw(windows: Windows) -> list[tuple[Labels, Floats, Floats]]:
    """The samples of a range vector by series, without series that have none."""
    series = buried(windows.series)
    found: list[tuple[Labels, Floats, Floats]] = []
    for window in windows.parts:
        mask = window.mask
        for column, labels in enumerate(series.labels[window.part]):
            here = mask[:, column]
            if here.any():
                found.append((labels, window.times[here], window.values[here, column]))
    if len({labels for labels, _, _ in found}) < len(found):
        raise QueryError("vector cannot contain metrics with the same labelset")
    return _sorted(found)


def _sorted(found: list[tuple[Labels, Floats, Floats]]) -> list[tuple[Labels, Floats, Floats]]:
    return sorted(found, key=lambda row: row[0].pairs)


def matrix(times: list[float], vectors: list[Vector]) -> Answer:
    """The vectors of a range query's steps as series over time."""
    series, values, present = stacked(vectors)
    moments = np.array(times)
    series_here = buried(series)
    rows: dict[Labels, tuple[Floats, Floats]] = {}
    for column, labels in enumerate(series_here.labels):
        here = present[:, column]
        if not here.any():
            continue
        row = (moments[here], values[here, column])
        if labels in rows:  # two series whose names were doomed have become one
            row = _merged(rows[labels], row)
        rows[labels] = row
    return Answer("matrix", matrix=_sorted([(labels, *row) for labels, row in rows.items()]))


def _merged(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    times = np.concatenate([first[0], second[0]])
    order = np.argsort(times, kind="stable")
    if len(np.unique(times)) < len(times):
        raise QueryError("vector cannot contain metrics with the same labelset")
    return times[order], np.concatenate([first[1], second[1]])[order]
