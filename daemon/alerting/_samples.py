"""Batches as the rule engine reads them: interned label sets, kept from batch to batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors import Family, Rows
from daemon.exposition import label_value
from daemon.scrape import Batch
from rules import Labels

_Known = dict[tuple[str, tuple[Any, ...]], Labels]  # by metric name and label values
Samples = list[tuple[Labels, float]]


@dataclass(slots=True)
class _Kept:
    environment: Mapping[str, str]  # the environment's labels, which all its series have
    labels: _Known = field(default_factory=dict)


class SampleCache:
    """Keeps the label set of every series as long as its batches hold it, so that a steady batch does no label work."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def samples(self, batch: Batch) -> tuple[Samples, Samples]:
        """The samples of `batch`: its own, and those about the run."""
        source = (batch.environment, batch.collector)
        kept = self._kept.get(source)
        if kept is None or kept.environment != batch.labels:
            kept = _Kept(batch.labels)
        fresh = _Kept(batch.labels)
        self._kept[source] = fresh
        return _samples(batch.rows, kept, fresh), _samples(batch.meta, kept, fresh)

    def forget(self, environment: str) -> None:
        """Drop what is kept for an environment that was removed."""
        for source in [key for key in self._kept if key[0] == environment]:
            del self._kept[source]


def _samples(parts: Iterable[Rows], kept: _Kept, fresh: _Kept) -> Samples:
    found: Samples = []
    for part in parts:
        for metric, column in zip(part.family.metrics, part.values, strict=True):
            name = metric.name
            for labels_of, value in zip(part.keys, column, strict=True):
                if value is None:
                    continue
                key = (name, labels_of)
                labels = kept.labels.get(key) or _labels(kept.environment, part.family, key)
                fresh.labels[key] = labels
                found.append((labels, float(value)))
    return found


def _labels(environment: Mapping[str, str], family: Family, key: tuple[str, Sequence[Any]]) -> Labels:
    name, values = key
    own = {label: shown for label, value in zip(family.labels, values, strict=True) if (shown := label_value(value))}
    inherited = {label: value for label, value in environment.items() if label not in family.labels}
    return Labels({"__name__": name, **inherited, **own})
