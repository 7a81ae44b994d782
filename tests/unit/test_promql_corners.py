"""Corners of the language that the comparison with promtool has brought to light."""

from __future__ import annotations

import math

import pytest

from rules import Dialect, Labels, Query, QueryError, SampleStore


def _values(text: str, series: dict[str, float], dialect: Dialect | None = None) -> list[float]:
    store = SampleStore()
    store.land("test", 0.0, [(Labels({"__name__": "m", "le": le}), value) for le, value in series.items()])
    found = Query.compile(text, dialect or Dialect()).evaluate(store, 0.0)
    return [value for _, value in found]


@pytest.mark.parametrize(("base", "root"), [(-math.inf, math.inf), (-0.0, 0.0), (4.0, 2.0), (math.inf, math.inf)])
def test_power_of_a_half_is_no_square_root(base: float, root: float) -> None:
    (value,) = _values("m ^ 0.5", {"1": base})
    assert (value, math.copysign(1, value)) == (root, 1)


def test_clamp_of_an_empty_interval_still_fails_where_its_argument_does() -> None:
    assert _values("clamp(m, 1, 0)", {"1": 5.0}) == []
    with pytest.raises(QueryError):
        _values("clamp(m * on () m, 1, 0)", {"1": 5.0, "2": 6.0})


def test_a_bucket_that_is_nan_is_searched_by_halves() -> None:
    """Of the buckets 1, 2, 3, 4 (and +Inf) the third is looked at first; NaN has not reached the rank."""
    counts = {"1": 1.0, "2": 2.0, "3": math.nan, "4": 4.0, "+Inf": 4.0}
    assert _values("histogram_quantile(0.25, m)", counts)[0] != 1.0
    assert _values("histogram_quantile(0.25, m)", {**counts, "3": 3.0}) == [1.0]


@pytest.mark.parametrize(("compat", "matched"), [(2, False), (3, True)])
def test_a_dot_of_label_replace_is_a_newline_too_since_prometheus_3(compat: int, matched: bool) -> None:
    text = 'label_replace(m, "le", "x", "le", "a.b") and on (le) label_replace(vector(1), "le", "x", "", "")'
    dialect = Dialect(compat=2) if compat == 2 else Dialect(compat=3)
    assert (_values(text, {"a\nb": 1.0}, dialect) == [1.0]) is matched
