"""A range query is what instant queries say at each of its steps."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Dialect, Labels, Query, QueryError, SampleStore
from tests.integration.promql_grammar import Grammar
from tests.integration.promql_series import INTERVAL, STEPS, filled, random_series

Found = dict[tuple[Labels, float], float]
STORE = filled(random_series(random.Random(20)))  # noqa: S311 - reproducible data, no secret
EXPRESSIONS = st.integers(0, 2**32).map(lambda seed: Grammar(random.Random(seed), pinned=False).expression())  # noqa: S311
DIALECTS = st.builds(Dialect, compat=st.sampled_from([2, 3]), delayed_names=st.booleans())
STARTS = st.integers(-300_000, int(STEPS * INTERVAL * 1000)).map(lambda milliseconds: milliseconds / 1000)
WIDTHS = st.sampled_from([1.0, 15.0, 30.0, 37.5, 300.0, 0.001])


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, DIALECTS, STARTS, WIDTHS, st.integers(0, 7))
def test_range_is_instant_by_instant(text: str, dialect: Dialect, start: float, step: float, count: int) -> None:
    times = [round(start + step * number, 3) for number in range(count + 1)]
    whole = _range(text, dialect, STORE, times, step)
    single = _instants(text, dialect, STORE, times)
    if whole is None or single is None:
        assert whole is single
        return
    assert whole.keys() == single.keys()
    for key, value in whole.items():
        assert math.isclose(value, single[key]) or (math.isnan(value) and math.isnan(single[key])), key


def _range(text: str, dialect: Dialect, store: SampleStore, times: list[float], step: float) -> Found | None:
    try:
        answer = Query.compile(text, dialect).range(store, times[0], times[-1], step)
    except QueryError:
        return None
    return {
        (labels, time): value
        for labels, at, values in answer.matrix
        for time, value in zip(at.tolist(), values.tolist(), strict=True)
    }


def _instants(text: str, dialect: Dialect, store: SampleStore, times: list[float]) -> Found | None:
    try:
        query = Query.compile(text, dialect)
        return {(labels, time): value for time in times for labels, value in query.evaluate(store, time)}
    except QueryError:
        return None
