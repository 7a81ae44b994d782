"""The page: one chunk a metric, environment and collector, rendered and compressed when a batch lands.

A gzip stream may consist of several members (RFC 1952, 2.2), so compressed chunks are joined like plain ones.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collectors import Family, Metric, Rows
from daemon.exposition._text import header, label_prefix, label_text, sample_lines

BLOCK_SERIES = 500
SMALL_BLOCK_SERIES = 64  # of parts with few records: what did not change is kept by the block
FEW_RECORDS = 2000
PAUSE_SERIES = 500  # about 1 ms of work; the event loop is let in after each
COMPARED_SERIES = 16  # found unchanged for the price of rendering one
PIECE_BYTES = 64 * 1024  # worth a system call
SMALL_PAGE_BYTES = 256 * 1024  # joined as a whole
LARGE_BYTES = 16 * 1024  # worth not to be copied
_WINDOW_BITS = 16 + 14  # a gzip member (16) with a window of 16 KB: to set up more memory costs more than a block
_Source = tuple[str, str]  # environment, collector


class _Block(NamedTuple):
    plain: bytes
    packed: bytes


def _block(plain: bytes) -> _Block:
    return _Block(plain, _gzip(plain))


def _gzip(plain: bytes) -> bytes:
    member = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, memLevel=6)
    return member.compress(plain) + member.flush()


@dataclass(slots=True)
class _Part:
    """Rows as they were landed, to be compared with the next; by metric, one block each `step` records.

    There is no block where no value is known.
    """

    labels: tuple[tuple[Any, ...], ...]
    values: tuple[tuple[Any, ...], ...]
    step: int
    texts: list[str] = field(default_factory=list)
    blocks: list[list[_Block | None]] = field(default_factory=list)


@dataclass(slots=True)
class _Landed:
    """What one collector gave for one environment."""

    environment_labels: Mapping[str, str]
    metrics: dict[str, Metric] = field(default_factory=dict)
    blocks: dict[str, list[_Block]] = field(default_factory=dict)
    parts: dict[Family, list[_Part]] = field(default_factory=dict)


@dataclass(slots=True)
class _Shown:
    """A metric with its headers by format and its blocks by source."""

    metric: Metric
    text: _Block
    openmetrics: _Block
    blocks: dict[_Source, list[_Block]] = field(default_factory=dict)


def _no_own_metrics(openmetrics: bool) -> bytes:
    return b"# EOF\n" if openmetrics else b""


class Page:
    """All series, ready to be sent. `own` renders what else belongs on the page (with `# EOF` in OpenMetrics)."""

    def __init__(self, own: Callable[[bool], bytes] = _no_own_metrics) -> None:
        self._own = own
        self._landed: dict[_Source, _Landed] = {}
        self._shown: dict[str, _Shown] = {}
        self._order: list[_Shown] = []

    async def land(self, environment_labels: Mapping[str, str], collector: str, rows: Sequence[Rows]) -> None:
        """Replace what `collector` gave for the environment; readers see the old chunks until the new are complete.

        The event loop is let in after every PAUSE_SERIES, so no batch holds it for more than some milliseconds.
        Not to be called twice at once for the same environment and collector.

        Raises:
            ValueError: a metric is shown with another kind already.
            TypeError: a value is no number.
        """
        source = (environment_labels["environment"], collector)
        before = self._landed.get(source)
        if before is None or before.environment_labels != environment_labels:
            before = _Landed(environment_labels)
        landed = _Landed(dict(environment_labels))
        since_pause = 0.0
        for part in rows:
            for work in _render(part, before, landed):
                since_pause += work
                if since_pause >= PAUSE_SERIES:
                    await asyncio.sleep(0)
                    since_pause = 0.0
        self._show(source, landed)

    def drop(self, environment: str, collector: str | None = None) -> None:
        """Forget what one collector gave for `environment`, or all of them."""
        for source in [key for key in self._landed if key[0] == environment and collector in {None, key[1]}]:
            self._hide(source, self._landed.pop(source).metrics.keys())

    def pieces(self, openmetrics: bool, gzip: bool) -> list[bytes]:
        """The page in pieces to be sent one after the other; small chunks are joined, large ones not even copied."""
        parts = self._parts(openmetrics, gzip)
        if sum(map(len, parts)) <= SMALL_PAGE_BYTES:
            return [b"".join(parts)]
        pieces: list[bytes] = []
        small: list[bytes] = []
        size = 0
        for part in parts:
            length = len(part)
            if small and (length >= LARGE_BYTES or size >= PIECE_BYTES):
                pieces.append(b"".join(small))
                small, size = [], 0
            if length >= LARGE_BYTES:
                pieces.append(part)
            else:
                small.append(part)
                size += length
        pieces.append(b"".join(small))
        return pieces

    def render(self, openmetrics: bool, gzip: bool) -> bytes:
        """The whole page."""
        return b"".join(self._parts(openmetrics, gzip))

    def _parts(self, openmetrics: bool, gzip: bool) -> list[bytes]:
        form = 1 if gzip else 0
        parts = []
        for shown in self._order:
            parts.append((shown.openmetrics if openmetrics else shown.text)[form])
            for blocks in shown.blocks.values():
                parts.extend([block[form] for block in blocks])
        own = self._own(openmetrics)
        parts.append(_gzip(own) if gzip else own)
        return parts

    def _show(self, source: _Source, landed: _Landed) -> None:
        for name, metric in landed.metrics.items():
            shown = self._shown.get(name)
            if shown and shown.metric.kind != metric.kind:
                raise ValueError(f"{name} is a {shown.metric.kind} elsewhere and cannot be a {metric.kind}")
        before, self._landed[source] = self._landed.get(source), landed
        known = len(self._shown)
        for name, metric in landed.metrics.items():
            if name not in self._shown:
                text, openmetrics = (_block(header(metric, openmetrics=form)) for form in (False, True))
                self._shown[name] = _Shown(metric, text, openmetrics)
            self._shown[name].blocks[source] = landed.blocks[name]
        if len(self._shown) > known:
            self._sort()
        if before is not None:
            self._hide(source, before.metrics.keys() - landed.metrics.keys())

    def _hide(self, source: _Source, names: Iterable[str]) -> None:
        known = len(self._shown)
        for name in names:
            shown = self._shown[name]
            del shown.blocks[source]
            if not shown.blocks:
                del self._shown[name]
        if len(self._shown) < known:
            self._sort()

    def _sort(self) -> None:
        self._order = [self._shown[name] for name in sorted(self._shown)]


def _render(rows: Rows, before: _Landed, landed: _Landed) -> Iterator[float]:
    """Render `rows` where they are not as before; yields the work of each step, in series rendered.

    Most catalogue facts do not change between two scrapes: to compare is cheaper than to write, and to compress.
    """
    now = _Part(rows.labels, rows.values, SMALL_BLOCK_SERIES if len(rows) <= FEW_RECORDS else BLOCK_SERIES)
    parts = landed.parts.setdefault(rows.family, [])
    old = dict(enumerate(before.parts.get(rows.family, ()))).get(len(parts))
    parts.append(now)
    if old is not None and old.labels == now.labels and len(old.texts) == len(rows):
        now.labels, now.texts = old.labels, old.texts
    else:
        prefix = label_prefix(landed.environment_labels, rows.family.labels)
        yield from _write_texts(now, rows, prefix, _known_texts(old))
    if old is not None and old.step != now.step:
        old = None
    for index, metric in enumerate(rows.family.metrics):
        if old is not None and old.texts is now.texts and old.values[index] == now.values[index]:
            blocks = old.blocks[index]
            yield len(rows) / COMPARED_SERIES
        else:
            blocks = []
            yield from _write_blocks(blocks, metric, index, now, old)
        now.blocks.append(blocks)
        if shown := [block for block in blocks if block is not None]:
            landed.metrics.setdefault(metric.name, metric)
            landed.blocks.setdefault(metric.name, []).extend(shown)


def _write_blocks(
    blocks: list[_Block | None], metric: Metric, index: int, now: _Part, old: _Part | None
) -> Iterator[float]:
    for number, start in enumerate(range(0, len(now.texts), now.step)):
        end = start + now.step
        texts, values = now.texts[start:end], now.values[index][start:end]
        if old is not None and old.texts[start:end] == texts and old.values[index][start:end] == values:
            blocks.append(old.blocks[index][number])
        else:
            plain = sample_lines(metric.name, texts, values)
            blocks.append(_block(plain) if plain else None)
            yield len(values)


def _known_texts(old: _Part | None) -> dict[tuple[Any, ...], str]:
    """The label texts of the last batch, by label values: records move when some come or go."""
    return dict(zip(zip(*old.labels, strict=True), old.texts, strict=False)) if old else {}  # no labels, no keys


def _write_texts(now: _Part, rows: Rows, prefix: str, known: Mapping[tuple[Any, ...], str]) -> Iterator[float]:
    names = rows.family.labels
    keys = rows.keys
    for start in range(0, len(keys), now.step):
        now.texts.extend([known.get(key) or label_text(prefix, names, key) for key in keys[start : start + now.step]])
        yield now.step
