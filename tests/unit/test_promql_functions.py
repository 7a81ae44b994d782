"""Functions of instant vectors: mathematics, dates, labels, order, and what is said beside a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import QueryError, SampleStore, strconv
from rules.labels import EMPTY, Labels
from rules.promql import labelling, maths
from rules.promql.dates import DATES
from rules.promql.evaluation import Dialect, Evaluation, Moment
from rules.promql.vector import Floats, Series, Vector
from rules.promql.windows import Range, Window, Windows

NOW = 1_700_000_000.0
LATER = Dialect(delayed_names=True)


def moment(dialect: Dialect | None = None, *, end: float = NOW) -> Moment:
    return Moment(Evaluation(SampleStore(), dialect or Dialect(), NOW, end), NOW)


def metric(name: str = "m", **labels: str) -> Labels:
    return Labels({"__name__": name, **labels})


def vector(elements: Sequence[tuple[Labels, float | None]], doomed: Sequence[bool] | None = None) -> Vector:
    """None: not present."""
    series = Series(tuple([labels for labels, _ in elements]), None if doomed is None else np.array(doomed))
    values = np.array([0.0 if value is None else value for _, value in elements])
    return Vector(series, values, np.array([value is not None for _, value in elements], np.bool_))


def constant(found: Vector) -> Callable[[Moment], Vector]:
    return lambda _: found


def scalar(value: float) -> Callable[[Moment], float]:
    return lambda _: value


def shown(found: Vector) -> list[tuple[str, float]]:
    return [(repr(labels), value) for labels, value in found.samples()]


def one_value(compute: Callable[..., Floats], value: float, *scalars: float) -> float:
    found = constant(vector([(metric(), value)]))
    with np.errstate(all="ignore"):
        return float(maths.elementwise(compute, found, tuple(map(scalar, scalars)))(moment()).values[0])


# --- mathematics -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("abs", -2.5, 2.5),
        ("ceil", -1.5, -1.0),
        ("floor", -1.5, -2.0),
        ("exp", 1.0, math.e),
        ("ln", 0.0, -math.inf),
        ("ln", -1.0, math.nan),
        ("log2", 8.0, 3.0),
        ("log10", 0.001, -3.0),
        ("sqrt", 2.0, math.sqrt(2)),
        ("sqrt", -1.0, math.nan),
        ("sgn", -3.0, -1.0),
        ("sgn", 0.0, 0.0),
        ("sgn", math.nan, math.nan),
        ("deg", math.pi, 180.0),
        ("rad", 180.0, math.pi),
        ("sin", 1.0, math.sin(1)),
        ("cos", 1.0, math.cos(1)),
        ("tan", 1.0, math.tan(1)),
        ("asin", 0.5, math.asin(0.5)),
        ("acos", 2.0, math.nan),
        ("atan", 1.0, math.pi / 4),
        ("sinh", 1.0, math.sinh(1)),
        ("cosh", 1.0, math.cosh(1)),
        ("tanh", 1.0, math.tanh(1)),
        ("asinh", 1.0, math.asinh(1)),
        ("acosh", 2.0, math.acosh(2)),
        ("atanh", 1.0, math.inf),
    ],
)
def test_mathematics(name: str, value: float, expected: float) -> None:
    assert one_value(maths.ELEMENTWISE[name], value) == pytest.approx(expected, nan_ok=True, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "value", "scalars", "expected"),
    [
        ("round", 2.5, (), 3.0),
        ("round", -2.5, (), -2.0),
        ("round", 33.333, (0.5,), 33.5),
        ("round", 1.0, (0.0,), math.nan),
        ("clamp_min", 1.0, (2.0,), 2.0),
        ("clamp_min", math.nan, (2.0,), math.nan),
        ("clamp_min", math.inf, (math.nan,), math.inf),  # Go's math.Max
        ("clamp_min", math.nan, (math.inf,), math.inf),
        ("clamp_max", 5.0, (2.0,), 2.0),
        ("clamp_max", math.nan, (-math.inf,), -math.inf),  # Go's math.Min
    ],
)
def test_mathematics_with_scalars(name: str, value: float, scalars: tuple[float, ...], expected: float) -> None:
    assert one_value(maths.WITH_SCALARS[name], value, *scalars) == pytest.approx(expected, nan_ok=True)


def test_the_sign_of_minus_zero_is_minus_zero() -> None:
    assert math.copysign(1, one_value(maths.ELEMENTWISE["sgn"], -0.0)) == -1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1.0, 2.0, [1.0, 1.5, 2.0]), (2.0, 1.0, []), (math.nan, 2.0, [math.nan] * 3)],
)
def test_clamp(low: float, high: float, expected: list[float]) -> None:
    found = constant(vector([(metric(i=str(i)), value) for i, value in enumerate((0.0, 1.5, 9.0))]))
    result = maths.clamp(found, scalar(low), scalar(high))(moment())
    assert [value for _, value in result.samples()] == pytest.approx(expected, nan_ok=True)


def test_names_go_now_or_later_and_collide_now() -> None:
    both = constant(vector([(metric("a"), 1.0), (metric("b"), 2.0)]))
    halved = maths.elementwise(np.negative, both)
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        halved(moment())
    later = halved(moment(LATER))
    assert shown(later) == [("a{}", -1.0), ("b{}", -2.0)]
    assert later.series.doomed is not None
    assert later.series.doomed.all()


# --- dates -------------------------------------------------------------------------------------------------------


@given(st.floats(-6e10, 2.5e11))
def test_dates_are_those_of_the_calendar(seconds: float) -> None:
    date = datetime.fromtimestamp(math.trunc(seconds), UTC)
    following = date.replace(year=date.year + date.month // 12, month=date.month % 12 + 1, day=1)
    expected = {
        "year": date.year,
        "month": date.month,
        "day_of_month": date.day,
        "day_of_week": date.isoweekday() % 7,
        "day_of_year": date.timetuple().tm_yday,
        "days_in_month": (following - date.replace(day=1)).days,
        "hour": date.hour,
        "minute": date.minute,
    }
    assert {name: compute(np.array([seconds]))[0] for name, compute in DATES.items()} == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e19, -1e300])
def test_what_is_no_time_is_the_one_that_go_makes_of_it(value: float) -> None:
    found = {name: compute(np.array([value]))[0] for name, compute in DATES.items()}
    assert found["year"] == 292277026596
    assert (found["month"], found["day_of_month"], found["hour"], found["minute"]) == (12, 4, 15, 30)


# --- labels ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "replacement", "source", "pattern", "expected"),
    [
        ("dst", "value-$1", "src", "source-(.*)", 'm{dst="value-10", src="source-10"}'),
        ("dst", "$1", "src", "ource-(.*)", 'm{src="source-10"}'),  # all of it must match
        ("dst", "$name/${name}x/$namex", "src", "(?P<name>s).*", 'm{dst="s/sx/", src="source-10"}'),
        ("dst", "$$1 $9 $01 \\1 $", "src", "(s).*", 'm{dst="$1   \\\\1 $", src="source-10"}'),
        ("dst", "${1}$2", "src", "(.)(x)?.*", 'm{dst="s", src="source-10"}'),
        ("src", "", "src", ".*", "m{}"),
        ("dst", "x", "none", "", 'm{dst="x", src="source-10"}'),
        ("a b.é", "x", "src", ".*", 'm{a b.é="x", src="source-10"}'),  # any text names a label
        ("__name__", "$1", "src", "(s).*", 's{src="source-10"}'),
    ],
)
def test_label_replace(target: str, replacement: str, source: str, pattern: str, expected: str) -> None:
    found = constant(vector([(metric(src="source-10"), 1.0)]))
    result = labelling.label_replace(found, target, replacement, source, pattern)(moment())
    assert shown(result) == [(expected.replace("\\\\", "\\"), 1.0)]


@pytest.mark.parametrize(
    ("target", "pattern", "message"),
    [
        ("", ".*", r"invalid destination label name in label_replace\(\): "),
        ("dst", "(", r"invalid regular expression in label_replace\(\): \("),
        ("dst", "(?=x)", r"invalid regular expression in label_replace\(\)"),
    ],
)
def test_label_replace_refuses(target: str, pattern: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        labelling.label_replace(constant(vector([])), target, "", "src", pattern)


def test_a_name_just_given_stays_and_others_go() -> None:
    found = constant(vector([(metric("a", x="1"), 1.0), (metric("b", x="2"), 2.0)], doomed=[True, True]))
    result = labelling.label_replace(found, "__name__", "new", "x", "1")(moment(LATER))
    assert shown(result) == [('new{x="1"}', 1.0), ('b{x="2"}', 2.0)]
    assert result.series.doomed is not None
    assert result.series.doomed.tolist() == [False, True]
    other = labelling.label_replace(found, "y", "new", "x", "1")(moment(LATER)).series.doomed
    assert other is not None
    assert other.all()


def test_equal_labels_collide_only_where_they_are_present() -> None:
    elements: list[tuple[Labels, float | None]] = [(metric(x="1"), 1.0), (metric(x="2"), None)]
    replaced = labelling.label_replace(constant(vector(elements)), "x", "", "x", ".*")
    assert shown(replaced(moment())) == [("m{}", 1.0)]
    elements[1] = (metric(x="2"), 2.0)
    replaced = labelling.label_replace(constant(vector(elements)), "x", "", "x", ".*")
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        replaced(moment())


def test_label_values_do_not_grow_without_end() -> None:
    long = "x" * 1000
    found = constant(vector([(metric(x=long, i=str(i)), 1.0) for i in range(100)]))
    with pytest.raises(QueryError, match="label value of more than 1048576 characters"):
        labelling.label_replace(found, "y", "$1" * 2000, "x", "(.*)")(moment())
    with pytest.raises(QueryError, match="label value of more than 1048576 characters"):
        labelling.label_join(found, "y", "", ("x",) * 2000)(moment())
    with pytest.raises(QueryError, match="more than 67108864 characters in the values of the label y"):
        labelling.label_replace(found, "y", "$1" * 1000, "x", "(.*)")(moment())


def test_label_join() -> None:
    found = constant(vector([(metric(a="1", b="2"), 1.0)]))
    assert shown(labelling.label_join(found, "c", "-", ("a", "b", "none"))(moment())) == [
        ('m{a="1", b="2", c="1-2-"}', 1.0)
    ]
    assert shown(labelling.label_join(found, "a", "-", ())(moment())) == [('m{b="2"}', 1.0)]
    with pytest.raises(QueryError, match=r"invalid source label name in label_join\(\): "):
        labelling.label_join(found, "c", "-", ("a", ""))
    with pytest.raises(QueryError, match=r"invalid destination label name in label_join\(\): "):
        labelling.label_join(found, "", "-", ("a",))


# --- order -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("descending", "expected"), [(False, ["c", "a", "d", "e"]), (True, ["d", "a", "c", "e"])])
def test_sort_puts_nan_last(descending: bool, expected: list[str]) -> None:
    values: Mapping[str, float | None] = {"a": 2.0, "b": None, "c": 1.0, "e": math.nan, "d": math.inf}
    found = constant(vector([(metric(i=i), value) for i, value in values.items()]))
    result = labelling.sort(found, descending=descending)(moment())
    assert [labels.value("i") for labels, _ in result.samples()] == expected


def test_sort_by_label_counts_in_natural_order() -> None:
    texts = ["a10", "a2", "", "b", "a", "10", "9", "-1", "a2b", "007"]
    found = constant(vector([(metric(x=text, y=str(i)), 1.0) for i, text in enumerate(texts)]))
    rising = labelling.sort_by_label(found, ("x",), descending=False)(moment())
    assert [labels.value("x") for labels, _ in rising.samples()] == [
        *("", "-1", "007", "9", "10", "a", "a2", "a2b", "a10", "b")
    ]
    falling = labelling.sort_by_label(found, ("none", "x"), descending=True)(moment())
    assert list(falling.samples()) == list(rising.samples())[::-1]
    by_all = labelling.sort_by_label(found, (), descending=False)(moment())
    # a label that is missing sorts by the next one
    assert [labels.value("x") for labels, _ in by_all.samples()] == [*sorted(filter(None, texts)), ""]


def test_sorting_a_range_query_is_warned_of() -> None:
    found = constant(vector([(metric(i="2"), 2.0), (metric(i="1"), 1.0)]))
    for sort in (
        labelling.sort(found, descending=False),
        labelling.sort_by_label(found, ("i",), descending=False),
    ):
        when = moment(end=NOW + 60)
        assert [value for _, value in sort(when).samples()] == [2.0, 1.0]
        assert list(when.evaluation.warnings) == [
            "PromQL warning: sort is ineffective for range queries since results are always ordered by labels"
        ]


# --- kinds, times, absence ---------------------------------------------------------------------------------------


def test_scalars_and_vectors() -> None:
    two = constant(vector([(metric(i="1"), 1.0), (metric(i="2"), None), (metric(i="3"), None)]))
    assert labelling.to_scalar(two)(moment()) == 1.0
    assert math.isnan(labelling.to_scalar(constant(vector([])))(moment()))
    assert math.isnan(labelling.to_scalar(constant(vector([(EMPTY, 1.0), (metric(), 1.0)])))(moment()))
    assert shown(labelling.to_vector(scalar(7.0))(moment())) == [("{}", 7.0)]
    assert shown(labelling.evaluation_times(two)(moment())) == [('{i="1"}', NOW)]


def test_absence() -> None:
    labels = Labels({"env": "qa"})
    nothing = constant(vector([(metric(), None)]))
    assert shown(labelling.absent(nothing, labels)(moment())) == [('{env="qa"}', 1.0)]
    assert shown(labelling.absent(constant(vector([(metric(), math.nan)])), labels)(moment())) == []


@pytest.mark.parametrize(
    ("values", "present", "absent"), [([[1.0]], None, False), ([[1.0]], [[False]], True), ([], None, True)]
)
def test_absence_over_time(values: list[list[float]], present: list[list[bool]] | None, absent: bool) -> None:
    rows = np.array(values).reshape(len(values), 1)
    window = Window(slice(0, 1), np.zeros(len(values)), rows, None if present is None else np.array(present))
    windows = Windows(Series((metric(),)), [window], Range(NOW - 60, NOW, 60, NOW))
    found = shown(labelling.absent_over_time(lambda _: windows, Labels({"env": "qa"}))(moment()))
    assert found == ([('{env="qa"}', 1.0)] if absent else [])


# --- printing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "general", "positional"),
    [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (100.0, "100", "100"),
        (123456.0, "123456", "123456"),
        (1e6, "1e+06", "1000000"),
        (-1234567.5, "-1.2345675e+06", "-1234567.5"),
        (1e-5, "1e-05", "0.00001"),
        (0.1, "0.1", "0.1"),
        (1e21, "1e+21", "1" + "0" * 21),
        (math.inf, "+Inf", "+Inf"),
        (-math.inf, "-Inf", "-Inf"),
        (math.nan, "NaN", "NaN"),
    ],
)
def test_numbers_are_printed_as_go_does(number: float, general: str, positional: str) -> None:
    assert strconv.general(number) == general
    assert strconv.positional(number) == positional


def test_texts_are_quoted_as_go_does() -> None:
    assert strconv.quote('a"\\\n\x01é\u200b\U000e0001') == '"a\\"\\\\\\n\\x01é\\u200b\\U000e0001"'
