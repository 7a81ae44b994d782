"""Range functions on histories with gaps and resets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from rules import Labels, Query, SampleStore

X = Labels({"__name__": "x", "i": "1"})
Y = Labels({"__name__": "x", "i": "2"})


def history(text: str, values: Sequence[float | None], step: float = 15.0) -> tuple[Query, SampleStore]:
    """One source with x at 0, step, 2 step ...; None: the series is missing from that batch."""
    query, store = Query.compile(text), SampleStore()
    store.wanted(query.names, query.windows)
    for index, value in enumerate(values):
        present = [] if value is None else [(X, value)]
        store.land("s", index * step, [*present, (Y, 7.0)])
    return query, store


def answer(text: str, values: Sequence[float | None], at: float) -> float | None:
    query, store = history(text, values)
    return next((value for labels, value in query.evaluate(store, at) if labels.value("i") == "1"), None)


@pytest.mark.parametrize(
    ("text", "values", "at", "expected"),
    [
        ("rate(x[1m])", [0, 15, 30, 45, 60], 60, 1.0),
        ("increase(x[1m])", [0, 15, 30, 45, 60], 60, 60.0),
        ("increase(x[1m])", [0, 50, 100, 10, 60], 60, 110 * 60 / 45),  # left-open: from 50 on; the reset at 10
        ("increase(x[45s])", [100, 110, 120, 130], 45, 30.0),
        ("increase(x[1m])", [0, 3, None, 9, 12], 60, 12.0),  # a gap; not extrapolated below zero
        ("delta(x[1m])", [50, 40, 30, 20, 10], 60, -40.0),
        ("rate(x[1m])", [None, None, None, None, 5], 60, None),  # one sample has no rate
        ("changes(x[1m])", [1, 1, 2, None, 1], 60, 2.0),
        ("changes(x[1m])", [0, math.nan, math.nan, 1, 1], 60, 1.0),
        ("count_over_time(x[1m])", [1, 1, 1, 1, 1], 60, 4.0),  # (0, 60]: Prometheus 3 leaves the start out
        ("sum_over_time(x[1m])", [1e100, 1e100, 1.0, -1e100, 5], 60, 6.0),
        ("avg_over_time(x[1m])", [0, 1, None, 3, 8], 60, 4.0),
        ("min_over_time(x[1m])", [-1, 4, math.nan, 3, 8], 60, 3.0),
        ("max_over_time(x[1m])", [99, 4, None, 3, 8], 60, 8.0),
        ("last_over_time(x[1m])", [1, 2, 3, 4, None], 60, 4.0),
        ("max_over_time(x[1m])", [1], 200, None),
    ],
)
def test_function(text: str, values: Sequence[float | None], at: float, expected: float | None) -> None:
    found = answer(text, values, at)
    assert found == (None if expected is None else pytest.approx(expected))


def test_the_name_goes_except_with_last() -> None:
    query, store = history("max_over_time(x[1m])", [1, 2])
    assert {labels.name for labels, _ in query.evaluate(store, 15)} == {""}
    query, store = history("last_over_time(x[1m])", [1, 2])
    assert {labels.name for labels, _ in query.evaluate(store, 15)} == {"x"}


def test_history_is_kept_only_as_long_as_it_is_read() -> None:
    query, store = history("count_over_time(x[5m])", [1.0] * 500)
    assert {value for _, value in query.evaluate(store, 499 * 15)} == {20.0}
    (block,) = store.metric("x").blocks.values()
    times, rows = block.between(-1, 1e9)
    assert 24 <= len(times) <= 25  # five minutes and one of slack
    assert rows.shape == (len(times), 2)


def test_history_survives_changing_label_sets() -> None:
    query, store = Query.compile("sum_over_time(x[1m])"), SampleStore()
    store.wanted(query.names, query.windows)
    new = [Labels({"__name__": "x", "i": str(index)}) for index in range(5)]
    for index, labels in enumerate(new):
        store.land("s", index * 10.0, [(labels, 1.0), (X, 2.0)] if labels is not X else [(X, 2.0)])
    found = {labels.value("i"): value for labels, value in query.evaluate(store, 40.0)}
    assert found == {"0": 1.0, "1": 10.0, "2": 1.0, "3": 1.0, "4": 1.0}
    assert {labels.value("i") for labels, _ in query.evaluate(store, 80.0)} == {"1", "3", "4"}  # the start is left out


def test_sources_of_one_series_are_merged() -> None:
    query, store = Query.compile("count_over_time(x[1m])"), SampleStore()
    store.wanted(query.names, query.windows)
    for time in (10.0, 20.0, 30.0):
        store.land("a", time, [(X, 1.0)])
        store.land("b", time + 5, [(X, 2.0), (Y, 1.0)])
    assert dict(query.evaluate(store, 40.0)) == {Labels({"i": "1"}): 6.0, Labels({"i": "2"}): 3.0}


def test_a_clock_set_back_forgets_the_future() -> None:
    query, store = history("sum_over_time(x[1m])", [1, 2, 3, 4])
    store.land("s", 20.0, [(X, 10.0)])
    assert dict(query.evaluate(store, 20.0))[Labels({"i": "1"})] == 13.0
    assert dict(query.evaluate(store, 60.0))[Labels({"i": "1"})] == 12.0
