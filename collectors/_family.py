"""Samples in the shape in which SQL gives them: a record is some label values, then some metric values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "custode_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its full name, kind and help (which names the unit)."""

    name: str
    kind: Literal["gauge", "counter", "info"]
    help: str


def gauge(name: str, help_: str) -> Metric:
    return Metric(PREFIX + name, "gauge", help_)


def counter(name: str, help_: str) -> Metric:
    """A counter; `name` must end in `_total`."""
    if not name.endswith("_total"):
        raise ValueError(f"the counter {name} must end in _total")
    return Metric(PREFIX + name, "counter", help_)


def info(name: str, help_: str) -> Metric:
    """A constant 1 whose labels carry the facts; `name` must end in `_info`."""
    if not name.endswith("_info"):
        raise ValueError(f"the info metric {name} must end in _info")
    return Metric(PREFIX + name, "info", help_)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Metrics that share their labels and are read together, one record for each set of label values.

    A constant of its collector, known by identity.
    """

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]

    def rows(self, records: Iterable[Sequence[Any]], *, keep: int = 0) -> Rows:
        """Samples of this family.

        Each record holds one value a label (None is an empty label), then one number a metric (None: no sample).
        asyncpg Records fit as they are. When there are too many series, the first `keep` records are never left out,
        the last ones go first.

        Raises:
            ValueError: a record holds more or fewer values.
        """
        records = records if isinstance(records, list) else list(records)
        width = len(self.labels) + len(self.metrics)
        for found in set(map(len, records)) - {width}:
            raise ValueError(f"a record has {found} values instead of {width}: {self._names()}")
        columns = tuple(zip(*records, strict=True)) or ((),) * width
        return self.columns(columns, keep=keep)

    def columns(self, columns: Sequence[Sequence[Any]], *, keep: int = 0) -> Rows:
        """The same of records that are turned already: one sequence a label, then one a metric, all of one length.

        Raises:
            ValueError: there are more or fewer columns.
        """
        width = len(self.labels)
        if len(columns) != width + len(self.metrics):
            raise ValueError(f"there are {len(columns)} columns instead of these: {self._names()}")
        turned = tuple(map(tuple, columns))
        return Rows(self, turned[:width], turned[width:], keep)

    def _names(self) -> str:
        return ", ".join((*self.labels, *(metric.name for metric in self.metrics)))


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples by column: what is rendered, compared and counted is one metric of many records, not one record."""

    family: Family
    labels: tuple[tuple[Any, ...], ...]
    values: tuple[tuple[Any, ...], ...]
    keep: int = 0

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.values[0])

    @property
    def records(self) -> list[tuple[Any, ...]]:
        return list(zip(*self.labels, *self.values, strict=True))

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """The label values of each record."""
        return list(zip(*self.labels, strict=True)) if self.labels else [()] * len(self)

    def first(self, count: int) -> Rows:
        labels, values = (tuple(column[:count] for column in columns) for columns in (self.labels, self.values))
        return Rows(self.family, labels, values, min(self.keep, count))
