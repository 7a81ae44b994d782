"""Functions over a time range: by hand, against Prometheus's loops written out, and with gaps against without."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import QueryError, SampleStore
from rules.labels import Labels
from rules.promql.evaluation import Dialect, Evaluation, Moment
from rules.promql.ranges import RANGES, apply, over_range
from rules.promql.samples import compensated
from rules.promql.vector import Floats, Series, Vector
from rules.promql.windows import Range, Window, Windows

NOW = 1_700_000_000.0
SCALARS = {
    "double_exponential_smoothing": (0.3, 0.6),
    "holt_winters": (0.3, 0.6),
    "predict_linear": (3600.0,),
    "quantile_over_time": (0.7,),
}
Rows = Sequence[Sequence[float | None]]


def moments(count: int, step: float) -> Floats:
    return np.linspace(NOW - step * (count - 1), NOW, count)


def window(rows: Rows, step: float = 15.0) -> Window:
    """Rows that end at NOW, `step` seconds apart; None: no sample."""
    present = np.array([[value is not None for value in row] for row in rows], np.bool_)
    values = np.array([[0.0 if value is None else value for value in row] for row in rows], np.float64)
    times = moments(len(rows), step)
    width = len(rows[0]) if rows else 1
    shaped = (len(rows), width)
    return Window(slice(0, width), times, values.reshape(shaped), None if present.all() else present.reshape(shaped))


def run(
    name: str,
    one: Window,
    *,
    scalars: tuple[float, ...] | None = None,
    metric: str = "x_total",
    seconds: float = 60.0,
    dialect: Dialect | None = None,
) -> tuple[Vector, Evaluation]:
    dialect = dialect or Dialect()
    series = Series(tuple([Labels({"__name__": metric, "i": str(i)}) for i in range(one.values.shape[1])]))
    range_ = Range(NOW - seconds, NOW, seconds, NOW, dialect.compat)
    arguments = SCALARS.get(name, ()) if scalars is None else scalars

    def scalar(value: float) -> Callable[[Moment], float]:
        return lambda _: value

    function = over_range(RANGES[name], lambda _: Windows(series, [one], range_), tuple(map(scalar, arguments)))
    evaluation = Evaluation(SampleStore(), dialect, NOW, NOW)
    with np.errstate(all="ignore"):
        return function(Moment(evaluation, NOW)), evaluation


def answer(name: str, values: Sequence[float | None]) -> float | None:
    vector, _ = run(name, window([[value] for value in values]))
    return float(vector.values[0]) if vector.present[0] else None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("rate", [15, 30, 45, 60], 1.0),
        ("increase", [15, 30, 45, 60], 60.0),
        ("increase", [50, 100, 10, 60], 110 * 60 / 45),  # the counter restarted before 10
        ("increase", [50, 10, 60, 20], 80 * 60 / 45),
        ("increase", [3, None, 9, 12], 12.0),  # a gap; not extrapolated below zero
        ("increase", [math.nan, 1, 2, 3], math.nan),
        ("increase", [0, 0, 0, 0], 0.0),
        ("increase", [math.inf, 1, 2, 3], math.nan),
        ("delta", [40, 30, 20, 10], -40.0),
        ("delta", [None, None, 20, 10], -15.0),  # half a step to the start, and none to the end
        ("rate", [None, None, None, 5], None),  # one sample has no rate
        ("irate", [1, 5, 1000, 1030], 2.0),
        ("irate", [1, 5, 1000, 30], 2.0),  # since the reset
        ("irate", [1, 1000, None, 1030], 1.0),
        ("irate", [None, 1], None),
        ("irate", [5], None),
        ("idelta", [1, 5, 1000, 30], -970.0),
        ("idelta", [7, None, 30, None], 23.0),
        ("resets", [5, 3, None, 4, 1, math.nan, 0], 2.0),
        ("changes", [1, 2, None, 1], 2.0),
        ("changes", [0, math.nan, math.nan, 1, 1], 2.0),
        ("changes", [math.nan, None, math.nan], 0.0),
        ("count_over_time", [1, None, 1], 2.0),
        ("sum_over_time", [1e100, 1.0, -1e100, 5], 6.0),
        ("sum_over_time", [math.inf, 1], math.inf),
        ("sum_over_time", [math.inf, -math.inf], math.nan),
        ("sum_over_time", [1.7e308, 1.7e308, -1.7e308], math.inf),
        ("avg_over_time", [1, None, 3, 8], 4.0),
        ("avg_over_time", [1.7e308, 1.7e308, None, 1.7e308], 1.7e308),
        ("avg_over_time", [math.inf, 1, None], math.inf),
        ("min_over_time", [4, math.nan, 3, 8], 3.0),
        ("max_over_time", [4, None, 3, math.nan], 4.0),
        ("max_over_time", [math.nan, math.nan], math.nan),
        ("last_over_time", [1, 2, 3, None], 3.0),
        ("first_over_time", [None, 2, 3, None], 2.0),
        ("present_over_time", [None, math.nan], 1.0),
        ("present_over_time", [None, None], None),
        ("ts_of_first_over_time", [None, 2, 3], NOW - 15),
        ("ts_of_last_over_time", [None, 2, None], NOW - 15),
        ("ts_of_max_over_time", [5, 3, 5, 1], NOW - 15),
        ("ts_of_min_over_time", [5, 3, None, math.nan], NOW - 30),
        ("ts_of_min_over_time", [math.nan, math.nan, None], NOW - 15),
        ("stdvar_over_time", [2, 4, None, 4, 4, 5, 5, 7, 9], 4.0),
        ("stddev_over_time", [2, 4, 4, 4, 5, 5, 7, 9], 2.0),
        ("stddev_over_time", [0.1] * 7, 0.0),  # exactly
        ("stdvar_over_time", [1e15, 1e15 + 2], 1.0),
        ("stdvar_over_time", [1e200, 1e200, 1e200], 0.0),
        ("stdvar_over_time", [1e200, 0], math.inf),
        ("stdvar_over_time", [1, math.inf], math.nan),
        ("mad_over_time", [4, 6, 2, 1, 999, 1, 2], 1.0),
        ("mad_over_time", [1, None, math.nan, 3], math.nan),
        ("quantile_over_time", [3, 1, None, 2], 2.4),
        ("quantile_over_time", [3, math.nan, 2], 2.4),  # NaN is the smallest
        ("deriv", [0, 30, 60], 2.0),
        ("deriv", [7, 7, None, 7], 0.0),
        ("deriv", [math.inf, math.inf], math.nan),
        ("deriv", [None, 7], None),
        ("predict_linear", [10, 20, None, 40], 40 + 3600 / 1.5),
        ("holt_winters", [1, 2, 3, 4], 4.0),
        ("holt_winters", [1, 2, None, 3, 5], 4.3),
        ("holt_winters", [None, 2], None),
    ],
)
def test_by_hand(name: str, values: Sequence[float | None], expected: float | None) -> None:
    found = answer(name, values)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12, nan_ok=True))


def test_a_constant_has_no_deviation_at_all() -> None:
    assert answer("stddev_over_time", [1.5990505637277868] * 3) == 0.0


@pytest.mark.parametrize(("phi", "expected"), [(-0.1, -math.inf), (1.1, math.inf), (math.nan, math.nan)])
def test_an_impossible_quantile_is_warned_of(phi: float, expected: float) -> None:
    vector, evaluation = run("quantile_over_time", window([[1.0], [2.0]]), scalars=(phi,))
    assert vector.values[0] == pytest.approx(expected, nan_ok=True)
    text = {-0.1: "-0.1", 1.1: "1.1"}.get(phi, "NaN")
    assert list(evaluation.warnings) == [
        f"PromQL warning: quantile value should be between 0 and 1, got {text}",
    ]


def test_no_warning_about_nothing() -> None:
    _, evaluation = run("quantile_over_time", window([[None]]), scalars=(2.0,))
    assert not evaluation.warnings


@pytest.mark.parametrize(("factors", "name"), [((0.0, 0.5), "smoothing"), ((0.5, 1.0), "trend")])
def test_smoothing_refuses_impossible_factors(factors: tuple[float, float], name: str) -> None:
    with pytest.raises(QueryError, match=rf"invalid {name} factor\. Expected: 0 < .f < 1, got: [01]\.000000"):
        run("holt_winters", window([[1.0], [2.0]]), scalars=factors)


@pytest.mark.parametrize(
    ("name", "metric", "rows", "informed"),
    [
        ("rate", "things", [[1.0], [2.0]], True),
        ("increase", "things", [[1.0], [2.0]], True),
        ("rate", "things", [[1.0]], False),  # no result
        ("irate", "things", [[1.0], [2.0]], False),
        ("rate", "", [[1.0], [2.0]], False),
        ("rate", "things_total", [[1.0], [2.0]], False),
        ("rate", "things_bucket", [[1.0], [2.0]], False),
    ],
)
def test_rates_of_what_is_no_counter_are_informed_of(name: str, metric: str, rows: Rows, informed: bool) -> None:
    _, evaluation = run(name, window(rows), metric=metric)
    text = 'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "things"'
    assert list(evaluation.infos) == ([text] if informed else [])


def test_the_name_goes_now_or_later() -> None:
    rows = window([[1.0], [2.0]])
    assert run("max_over_time", rows)[0].series.labels[0].name == ""
    kept = run("last_over_time", rows)[0].series
    assert kept.labels[0].name == "x_total"
    assert kept.doomed is None
    later = run("max_over_time", rows, dialect=Dialect(delayed_names=True))[0].series
    assert later.labels[0].name == "x_total"
    assert later.doomed is not None
    assert later.doomed.all()


def test_series_that_differ_in_name_alone_collide() -> None:
    series = Series((Labels({"__name__": "a"}), Labels({"__name__": "b"})))
    windows = Windows(series, [window([[1.0, 2.0]])], Range(NOW - 60, NOW, 60, NOW))
    function = over_range(RANGES["max_over_time"], lambda _: windows, ())
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        function(Moment(Evaluation(SampleStore(), Dialect(), NOW, NOW), NOW))


@pytest.mark.parametrize("name", RANGES)
def test_no_rows_have_no_result(name: str) -> None:
    vector, _ = run(name, Window(slice(0, 3), np.empty(0), np.empty((0, 3)), None))
    assert not vector.present.any()


@pytest.mark.parametrize(
    ("first", "in_2", "in_3"),
    [
        (5.0, 20.0, 20.0),  # zero is 3.3 s before the first sample
        (15.0, 30.0, 22.5),  # 10 s: near enough, but Prometheus 3 judges by the 20 s to the start and takes half a step
        (25.0, 22.5, 22.5),  # 16.7 s: too far
    ],
)
def test_prometheus_2_limits_a_counter_to_zero_before_it_judges_distance(
    first: float, in_2: float, in_3: float
) -> None:
    rows = window([[first], [first + 15]], step=10.0)
    for dialect, expected in ((Dialect(compat=2), in_2), (Dialect(), in_3)):
        vector, _ = run("increase", rows, seconds=30.0, dialect=dialect)
        assert vector.values[0] == pytest.approx(expected)


def test_a_mean_does_not_overflow() -> None:
    found = answer("avg_over_time", [1.7e308, 1.7e308, None, -1.7e308, -1.7e308])
    assert found == pytest.approx(0.0, abs=1e293)


# --- with gaps against without -----------------------------------------------------------------------------------

numbers = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(0, 3).map(float),
    st.sampled_from([math.inf, -math.inf, math.nan, 0.0, 1e300, -1e300]),
)
matrices = st.integers(1, 6).flatmap(
    lambda rows: st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=rows, max_size=rows)
    )
)


def same(one: Vector, other: Vector) -> None:
    np.testing.assert_array_equal(one.present, other.present)
    here = one.present
    np.testing.assert_allclose(one.values[here], other.values[here], rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_rows_without_samples_change_nothing(rows: list[list[float]]) -> None:
    full = window(rows, step=10.0)
    spread = [row for one in rows for row in (one, [None] * len(one))][:-1]
    gappy = window(spread, step=5.0)
    if gappy.present is None:  # a single row
        gappy = Window(gappy.part, gappy.times, gappy.values, np.ones(gappy.values.shape, np.bool_))
    for name in RANGES:
        same(run(name, full)[0], run(name, gappy)[0])


@settings(max_examples=40, deadline=None)
@given(st.data(), matrices)
def test_series_with_and_without_gaps_do_not_touch_each_other(data: st.DataObject, rows: list[list[float]]) -> None:
    width = len(rows[0])
    masks = st.lists(st.booleans(), min_size=width, max_size=width)
    holes = data.draw(st.lists(masks, min_size=len(rows), max_size=len(rows)))
    holed: list[list[float | None]] = [
        [None if hole else value for value, hole in zip(row, mask, strict=True)]
        for row, mask in zip(rows, holes, strict=True)
    ]
    for name in RANGES:
        together = run(name, window([[*row, 1.0, 2.0, 3.0] for row in holed]))[0]
        for column in range(width):
            alone = run(name, window([[row[column]] for row in holed]))[0]
            part = slice(column, column + 1)
            same(alone, Vector(alone.series, together.values[part], together.present[part]))


@pytest.mark.parametrize("name", RANGES)
def test_more_series_than_are_computed_at_once(name: str) -> None:
    values = np.random.default_rng(7).integers(0, 100, (4, 5000)).astype(np.float64)
    range_, scalars = Range(NOW - 60, NOW, 60, NOW), SCALARS.get(name, ())
    many, few = ((np.zeros(width), np.zeros(width, np.bool_)) for width in (5000, 50))
    apply(RANGES[name], Window(slice(0, 5000), moments(4, 10.0), values, None), range_, scalars, many)
    apply(RANGES[name], Window(slice(0, 50), moments(4, 10.0), values[:, 4070:4120], None), range_, scalars, few)
    np.testing.assert_array_equal(many[0][4070:4120], few[0])
    assert many[1].all()


# --- Prometheus's loops, written out -----------------------------------------------------------------------------


def kahan(values: Sequence[float]) -> float:
    total = lost = 0.0
    for value in values:
        added = total + value
        larger, smaller = (total, value) if abs(total) >= abs(value) else (value, total)
        lost += (larger - added) + smaller
        total = added
    return total + lost


def welford(values: Sequence[float]) -> float:
    mean = square = 0.0
    for count, value in enumerate(values, 1):
        away = value - mean
        mean += away / count
        square += away * (value - mean)
    return square / len(values)


def slope(values: Sequence[float], times: Floats) -> float:
    x = (times - times[0]).tolist()
    n = len(values)
    products = kahan([a * b for a, b in zip(x, values, strict=True)])
    covariance = products - kahan(x) * kahan(values) / n
    return covariance / (kahan([a * a for a in x]) - kahan(x) ** 2 / n)


def reset_sum(values: Sequence[float]) -> float:
    total = values[-1] - values[0]
    for before, after in pairwise(values):
        total += before if after < before else 0.0
    return total


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=3, max_size=12))
def test_against_the_loops_of_prometheus(values: list[float]) -> None:
    rows = window([[value] for value in values], step=10.0)
    length = 10.0 * (len(values) - 1)

    def found(name: str) -> float:
        return float(run(name, rows, seconds=length, scalars=())[0].values[0])

    assert found("sum_over_time") == kahan(values)
    assert found("stdvar_over_time") == pytest.approx(welford(values), rel=1e-9, abs=1e-12 * max(map(abs, values)) ** 2)
    assert found("increase") == pytest.approx(reset_sum(values))  # the samples stand at the range's borders
    assert found("resets") == sum(after < before for before, after in pairwise(values))
    if any(value != values[0] for value in values):
        assert found("deriv") == slope(values, rows.times)


@given(st.lists(st.floats(), min_size=1, max_size=30))
def test_few_sums_are_to_the_last_digit_what_many_are(column: list[float]) -> None:
    few, many = (np.tile(np.array([column]).T, (1, width)) for width in (1, 40))
    with np.errstate(all="ignore"):
        one, all_ = compensated(few), compensated(many)
    for alone, beside in zip(one, all_, strict=True):
        np.testing.assert_array_equal(np.repeat(alone, 40), beside)
