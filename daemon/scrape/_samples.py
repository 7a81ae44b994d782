"""Batches as the rule engine reads them: interned label sets, kept from batch to batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from collectors import Family
from daemon.exposition import label_value
from daemon.scrape._batch import Batch
from rules import Labels

_Known = dict[tuple[str, tuple[Any, ...]], Labels]  # by metric name and label values


class SampleCache:
    """Keeps the label set of every series as long as its batches hold it, so that a steady batch does no label work."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}

    def samples(self, batch: Batch, wanted: frozenset[str] | None) -> list[tuple[Labels, float]]:
        """The samples of `batch`, its own and those about the run, of the metrics named in `wanted` (None: of all)."""
        source = (batch.environment, batch.collector)
        known = self._known.get(source, {})
        fresh: _Known = {}
        found: list[tuple[Labels, float]] = []
        for part in (*batch.rows, *batch.meta):
            chosen = [
                (metric.name, column)
                for metric, column in zip(part.family.metrics, part.values, strict=True)
                if wanted is None or metric.name in wanted
            ]
            keys = part.keys if chosen else []
            for name, column in chosen:
                for labels_of, value in zip(keys, column, strict=True):
                    if value is None:
                        continue
                    key = (name, labels_of)
                    labels = known.get(key) or _labels(batch.labels, part.family, key)
                    fresh[key] = labels
                    found.append((labels, float(value)))
        self._known[source] = fresh
        return found

    def forget(self, environment: str, collector: str | None = None) -> None:
        """Drop what is kept for an environment or one of its collectors: it was removed, or its labels changed."""
        for source in [key for key in self._known if key[0] == environment and collector in {None, key[1]}]:
            del self._known[source]


def _labels(environment: Mapping[str, str], family: Family, key: tuple[str, Sequence[Any]]) -> Labels:
    name, values = key
    own = {label: shown for label, value in zip(family.labels, values, strict=True) if (shown := label_value(value))}
    inherited = {label: value for label, value in environment.items() if label not in family.labels}
    return Labels({"__name__": name, **inherited, **own})
