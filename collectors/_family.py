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


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics that share their labels and are read together, one record for each set of label values."""

    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]

    def rows(self, records: Iterable[Sequence[Any]], *, keep: int = 0) -> Rows:
        """Samples of this family.

        Each record holds one value a label (None is an empty label), then one number a metric (None: no sample).
        asyncpg Records fit as they are. When there are too many series, the first `keep` records are never left out,
        the last ones go first.
        """
        return Rows(self, records if isinstance(records, list) else list(records), keep)


@dataclass(frozen=True, slots=True)
class Rows:
    family: Family
    records: list[Sequence[Any]]
    keep: int = 0
