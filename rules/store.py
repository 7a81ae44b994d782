"""The sample store: what the collectors and the rules themselves have found, ready to be evaluated.

Samples lie in blocks, one per source and metric. Every metric keeps a little history, and as much as the loaded rules
read. A batch whose label sets are those of the batch before costs no label work at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rules.blocks import LOOKBACK, STALE, Block, Bools, Floats, is_sample
from rules.errors import StoreFullError
from rules.labels import Labels

__all__ = ["LOOKBACK", "STALE", "Block", "Bools", "Floats", "Metric", "SampleStore", "is_sample"]

SLACK = 60.0  # seconds of history beyond a window, for evaluations that come late
FLOOR = LOOKBACK + SLACK
LIMIT = 50_000_000  # samples, 8 bytes each


@dataclass(slots=True, eq=False)
class Metric:
    """All blocks of one metric name. `generation` changes with every change of label sets, never with values alone."""

    blocks: dict[str, Block] = field(default_factory=dict)
    generation: int = 0


@dataclass(slots=True)
class _Source:
    labels: list[Labels] | None = None
    names: tuple[str, ...] = ()
    parts: list[tuple[str, Block, NDArray[np.intp]]] = field(default_factory=list)  # a metric's name, where from
    said: frozenset[str] = frozenset()  # the metrics of its last batch that was read in full
    newest: float = -math.inf
    fresh_for: float = LOOKBACK


_Layout = dict[str, dict[Labels, int]]  # metric name → its label sets → their places in a batch


def _layout(labels: Sequence[Labels]) -> _Layout:
    layout: _Layout = {}
    for place, one in enumerate(labels):
        layout.setdefault(one.name, {})[one] = place
    return layout


class SampleStore:
    """The newest samples of every source, and the history that is asked for.

    `floor` is how many seconds of history every metric keeps at least, `limit` how many samples there is room for; one
    sample takes 8 bytes.
    """

    def __init__(self, *, floor: float = FLOOR, limit: int = LIMIT) -> None:
        self.limit = limit
        self._floor = floor
        self._metrics: dict[str, Metric] = {}
        self._sources: dict[str, _Source] = {}
        self._windows: Mapping[str, float] = {}
        self._doubtful: dict[str, Mapping[str, str]] = {}  # sources that could not be read, and what they are about
        self._cells = self._series = 0
        self.generation = 0  # changes when a metric name comes or goes

    def retain(self, windows: Mapping[str, float]) -> None:
        """Keep `windows[name]` seconds of history from now on; "" is every metric's. Never below the floor."""
        self._windows = dict(windows)
        for name, metric in self._metrics.items():
            for block in metric.blocks.values():
                block.window = self._window(name)

    def _window(self, name: str) -> float:
        return max(self._floor, *(self._windows.get(one, 0.0) + SLACK for one in (name, "")))

    def metric(self, name: str) -> Metric | None:
        return self._metrics.get(name)

    def names(self) -> list[str]:
        return list(self._metrics)

    def sources(self) -> list[str]:
        return list(self._sources)

    @property
    def cells(self) -> int:
        """Samples that memory is taken for."""
        return self._cells

    @property
    def series(self) -> int:
        return self._series

    def land(
        self,
        source: str,
        time: float,
        series: Sequence[tuple[Labels, float]],
        *,
        fresh_for: float = LOOKBACK,
        doubtful: Mapping[str, str] | None = None,
        tells: Iterable[str] = (),
    ) -> None:
        """Replace what `source` (an environment's collector, a rule) said before; what it no longer says is stale.

        `time` in unix seconds. The batch counts for `fresh_for` seconds: a source that comes less often than every
        five minutes must say so, or its series vanish in between. Of two equal label sets the last one counts.
        `doubtful` marks a batch that could not be read or not in full; it is labels that all the source's series have.
        `tells` are metrics that the source tells when it can be read, beside those that it has told.

        Raises:
            StoreFullError: there is no room; the source's samples stay as they were.
        """
        labels = [one for one, _ in series]
        values = np.fromiter((value for _, value in series), np.float64, len(series))
        self.land_columns(source, time, labels, values, fresh_for=fresh_for)
        held = self._sources[source]
        if doubtful is None:
            self._doubtful.pop(source, None)
            held.said = frozenset(held.names)
        else:
            self._doubtful[source] = doubtful
            held.said = held.said.union(tells)

    def land_columns(
        self, source: str, time: float, labels: list[Labels], values: Floats, *, fresh_for: float = LOOKBACK
    ) -> None:
        """`land`, with label sets and values apart: values[i] belongs to labels[i]."""
        time = round(time, 3)  # milliseconds, Prometheus's resolution, so that window borders are exact
        held = self._sources.get(source) or _Source()
        layout = None if labels == held.labels else _layout(labels)
        self._refuse_excess(source, held, layout, time)
        if layout is not None:
            self._lay_out(source, held, layout)
            held.labels = labels
        held.newest, held.fresh_for = time, fresh_for
        for _, block, places in held.parts:
            block.fresh_for = fresh_for
            before = block.cells
            block.append(time, values[places])
            self._cells += block.cells - before
        if len(held.parts) > len(held.names):
            self._forget_ended(source, held)

    def fill(self, labels: Labels, times: Sequence[float], values: Sequence[float]) -> None:
        """Add history of one series, as a source of its own; ascending times in unix seconds.

        A value STALE ends the series for a while; a time that is left out means nothing.
        """
        source = f"series {labels.pairs!r}"
        for time, value in zip(times, values, strict=True):
            self.land_columns(source, time, [labels], np.array([value]))

    def unknown(self, names: Iterable[str] | None) -> list[Mapping[str, str]]:
        """What sources are about that could not be read in full and told one of these metrics (None: any) before."""
        wanted = None if names is None else frozenset(names)
        return [
            about
            for source, about in self._doubtful.items()
            if wanted is None or not wanted.isdisjoint(self._sources[source].said)
        ]

    def drop(self, source: str) -> None:
        """Forget a source and its history."""
        self._doubtful.pop(source, None)
        if self._sources.pop(source, None) is not None:
            for name in [name for name, metric in self._metrics.items() if source in metric.blocks]:
                self._remove(name, source)

    def expire(self, now: float) -> None:
        """Forget sources that said nothing for so long that nobody can read them any more."""
        for source, held in list(self._sources.items()):
            kept = max([held.fresh_for, self._floor, *(block.window for _, block, _ in held.parts)])
            if now - held.newest > kept:
                self.drop(source)

    def _remove(self, name: str, source: str) -> None:
        metric = self._metrics[name]
        block = metric.blocks.pop(source)
        self._cells -= block.cells
        self._series -= len(block.labels)
        metric.generation += 1
        if not metric.blocks:
            del self._metrics[name]
            self.generation += 1

    def _block(self, name: str, source: str) -> Block:
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = Metric()
            self.generation += 1
        block = metric.blocks.get(source)
        if block is None:
            block = metric.blocks[source] = Block(self._window(name))
        return block

    def _lay_out(self, source: str, held: _Source, layout: _Layout) -> None:
        self._sources[source] = held
        before, held.parts = held.parts, []
        for name, columns in layout.items():
            block, wanted = self._block(name, source), tuple(columns)
            if block.labels[: len(wanted)] != wanted:
                cells, columns_before = block.cells, len(block.labels)
                block.relabel(wanted)
                self._cells += block.cells - cells
                self._series += len(block.labels) - columns_before
                self._metrics[name].generation += 1
            held.parts.append((name, block, np.fromiter(columns.values(), np.intp, len(columns))))
        # a metric that left the batch is stale from now on, and goes with its last sample
        held.parts += [(name, block, np.empty(0, np.intp)) for name, block, _ in before if name not in layout]
        held.names = tuple(layout)

    def _refuse_excess(self, source: str, held: _Source, layout: _Layout | None, time: float) -> None:
        known = {name: block for name, block, _ in held.parts}
        added = sum(block.growth(time) for name, block in known.items() if layout is None or name not in layout)
        for name, columns in (layout or {}).items():
            added += known[name].growth(time, tuple(columns)) if name in known else len(columns)
        if added > 0 and self._cells + added > self.limit:
            raise StoreFullError(
                f"no room for the samples of {source}: {self._cells:,} of {self.limit:,} are taken, "
                f"it needs {added:,} more",
                hint="look for a label with ever new values, or raise rules.sample_limit",
            )

    def _forget_ended(self, source: str, held: _Source) -> None:
        """Metrics that left the batch go as soon as no window can see them any more."""
        ended = {name for name, block, _ in held.parts if name not in held.names and block.empty}
        for name in ended:
            self._remove(name, source)
        held.parts = [part for part in held.parts if part[0] not in ended]
