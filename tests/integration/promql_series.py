"""Random series with everything that data can have against an evaluator, for promtool and for our store alike."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator

from rules import STALE, Labels, SampleStore

INTERVAL = 30.0  # seconds between samples
STEPS = 80

Value = float | str | None  # "stale" ends a series for a while, None is a step without sample
Row = list[Value]


def random_series(rng: random.Random) -> dict[Labels, Row]:
    """Gauges, counters, histograms and oddities; each value an eighth, so that sums are exact in any order."""
    return {labels: _broken(rng, labels, row) for labels, row in _whole(rng) if rng.random() < 0.9}


def _whole(rng: random.Random) -> Iterator[tuple[Labels, Row]]:
    places = [{"a": a, "b": b} for a in ("1", "2", "3") for b in ("p", "q", "r é")]
    odd_places = [{"a": "1"}, {"b": "q"}, {}, {"a": "x\ny", "b": "p"}, {"a": "a.b", "b": 'say "hi" \\ there'}]
    for place in [*places, *odd_places]:
        yield _named("g", place), [rng.randrange(-24, 40) / 8 for _ in range(STEPS)]
        yield _named("c_total", place), _counter(rng)
    for number, place in enumerate(places):
        yield _named("h", place), [float(rng.randrange(-3, 4)) for _ in range(STEPS)]
        # never two equal values at a time: which of them topk keeps is an accident
        yield _named("u", place), [rng.randrange(-40, 40) + number / 16 for _ in range(STEPS)]
    for a in ("1", "2", "3"):
        yield _named("i", {"a": a, "w": f"v{a}", "b": "p"}), [1.0] * STEPS
        yield from _histogram(rng, {"a": a})
    specials: list[Value] = [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e300, 1e-300, 2.5, None]
    for x in "12345":
        yield _named("odd", {"x": x, "a": x}), rng.choices(specials, k=STEPS)
        yield _named("t", {"x": x}), [rng.choice([-1, 1]) * rng.randrange(2**34) + 0.5 for _ in range(STEPS)]
    yield _named("one", {"a": "1"}), [rng.randrange(8) / 4 for _ in range(STEPS)]
    yield _named("flat", {"a": "1"}), [2.5] * STEPS


def _named(name: str, labels: dict[str, str]) -> Labels:
    return Labels({"__name__": name, **labels})


def _counter(rng: random.Random, least: int = 0) -> Row:
    total, row = float(rng.randrange(3)), []
    for _ in range(STEPS):
        total = 0.0 if rng.random() < 0.04 else total + rng.randrange(least, 9)
        row.append(total)
    return list(row)


def _histogram(rng: random.Random, labels: dict[str, str]) -> Iterator[tuple[Labels, Row]]:
    bounds = rng.sample(["-1", "0", "0.1", "0.5", "1", "2.5", "1e1", "+Inf", "+Inf", "Inf", "x"], 7)
    before = [0.0] * STEPS
    for bound in dict.fromkeys(sorted(bounds, key=_size)):
        row = [float(one) for one in _counter(rng) if isinstance(one, float)]
        before = row if rng.random() < 0.1 else [one + more for one, more in zip(before, row, strict=True)]
        yield _named("lat_bucket", {**labels, "le": bound}), list(before)
    yield _named("lat_count", labels), list(before)
    yield _named("lat_sum", labels), _counter(rng)


def _size(bound: str) -> float:
    return float(bound) if bound != "x" else 0.3


def _broken(rng: random.Random, labels: Labels, row: Row) -> Row:
    """With gaps, stale markers, absences longer than the lookback, and a late begin or an early end."""
    breaks: list[Callable[[Row], Row]] = [list, list, list]
    breaks += [
        lambda row: [None if rng.random() < 0.15 else one for one in row],
        lambda row: [None if rng.random() < 0.7 else one for one in row],
        lambda row: ["stale" if rng.random() < 0.06 else one for one in row],
        lambda row: _replaced(row, rng.randrange(STEPS), rng.randrange(5, 30), None),
        lambda row: _replaced(row, rng.randrange(STEPS), rng.randrange(1, 20), "stale"),
        lambda row: _replaced(row, 0, rng.randrange(STEPS), None),
        lambda row: _replaced(row, rng.randrange(STEPS), STEPS, None),
    ]
    # buckets with NaN are left out: Prometheus 3 corrects counts that decrease with another method than 2
    if labels.name != "lat_bucket":
        breaks.append(lambda row: [math.nan if rng.random() < 0.05 else one for one in row])
    return rng.choice(breaks)(row)


def _replaced(row: Row, start: int, count: int, by: Value) -> Row:
    return [by if start <= place < start + count else one for place, one in enumerate(row)]


def notation(labels: Labels, row: Row) -> dict[str, str]:
    """One of promtool's `input_series`."""
    inner = ",".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in labels.pairs[1:])
    return {"series": f"{labels.name}{{{inner}}}", "values": " ".join(map(_noted, row))}


def _noted(value: Value) -> str:
    if value is None:
        return "_"
    return value if isinstance(value, str) else repr(value).replace("nan", "NaN").replace("inf", "Inf")


def filled(series: dict[Labels, Row]) -> SampleStore:
    """Our store with the series: those without gaps by the batch, as collectors land them, the others one by one."""
    store = SampleStore(floor=math.inf)
    whole = {labels: row for labels, row in series.items() if None not in row}
    for step in range(STEPS):
        for source in {labels.name for labels in whole}:
            batch = [(labels, row[step]) for labels, row in whole.items() if labels.name == source]
            samples = [(labels, value) for labels, value in batch if isinstance(value, float)]
            store.land(source, step * INTERVAL, samples)
    for labels, row in series.items():
        if labels not in whole:
            known = [(step * INTERVAL, value) for step, value in enumerate(row) if value is not None]
            values = [STALE if isinstance(value, str) else value for _, value in known]
            store.fill(labels, [time for time, _ in known], values)
    return store
