"""Functions of classic histograms: by hand, against Prometheus's loops written out, and with buckets missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import QueryError, SampleStore
from rules.labels import Labels
from rules.promql import histogram
from rules.promql.evaluation import Dialect, Evaluation, Moment
from rules.promql.vector import Series, Vector

NOW = 1_700_000_000.0
LATER = Dialect(delayed_names=True)
FORCED = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity "
    "(see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
)
Buckets = Mapping[str, float | None]  # None: not present


def moment(dialect: Dialect | None = None) -> Moment:
    return Moment(Evaluation(SampleStore(), dialect or Dialect(), NOW, NOW), NOW)


def scalar(value: float) -> Callable[[Moment], float]:
    return lambda _: value


def vector(*histograms: Buckets, name: str = "m_bucket") -> Callable[[Moment], Vector]:
    """Histograms whose label h counts them."""
    buckets = [(str(place), le, count) for place, one in enumerate(histograms) for le, count in one.items()]
    labels = tuple([Labels({"__name__": name, "h": place, "le": le}) for place, le, _ in buckets])
    values = np.array([0.0 if count is None else count for *_, count in buckets])
    found = Vector(Series(labels), values, np.array([count is not None for *_, count in buckets], np.bool_))
    return lambda _: found


def answers(function: Callable[[Moment], Vector], when: Moment | None = None) -> dict[str, float]:
    with np.errstate(all="ignore"):
        return {repr(labels): value for labels, value in function(when or moment()).samples()}


def quantile(phi: float, buckets: Buckets) -> float | None:
    return answers(histogram.quantile(scalar(phi), vector(buckets))).get('{h="0"}')


PLAIN: Buckets = {"0.1": 2, "0.2": 6, "1": 8, "+Inf": 10}


@pytest.mark.parametrize(
    ("phi", "buckets", "expected"),
    [
        (0.5, PLAIN, 0.1 + 0.1 * 3 / 4),
        (0.1, PLAIN, 0.05),  # from zero
        (0.8, PLAIN, 1.0),
        (0.9, PLAIN, 1.0),  # nobody knows how large
        (0.0, PLAIN, 0.0),
        (1.0, PLAIN, 1.0),
        (-1.0, PLAIN, -math.inf),
        (2.0, PLAIN, math.inf),
        (math.nan, PLAIN, math.nan),
        (0.5, {"+Inf": 10, "1": 8, "0.2": 6, "0.1": 2}, 0.175),  # in any order
        (0.5, {"0.1": 2, "0.2": 6}, math.nan),  # without +Inf
        (0.5, {"+Inf": 10}, math.nan),
        (0.5, {"1": 0, "+Inf": 0}, math.nan),
        (0.5, {"1": math.nan, "+Inf": math.nan}, 1.0),
        (0.5, {"-1": 8, "1": 9, "+Inf": 10}, -1.0),  # below the lowest bound, which is negative
        (0.85, {"-1": 8, "1": 9, "+Inf": 10}, 0.0),
        (0.5, {"0": 8, "+Inf": 10}, 0.0),
        (0.5, {"1": 2, "1.0": 3, "2": 9, "+Inf": 10}, 1.0),  # equal bounds are one bucket
        (0.5, {"1": 2, "1.0": 3, "2": 9, "+Inf": 10, "inf": 2}, 1.25),
        (0.5, {"1": 2, "1.0": None, "2": 9, "+Inf": 10}, 1 + 3 / 7),
        (0.5, {"0.1": None, "0.2": 6, "1": 8, "+Inf": 10}, 0.2 * 5 / 6),
        (0.5, {"0.1": 2, "0.2": 6, "1": 8, "+Inf": None}, math.nan),
        (0.5, {"0.1": None, "+Inf": None}, None),
        (0.5, {"1e400": 2, "1_0": 5, " 1": 5}, None),  # no bounds at all
        (0.5, {"1": 5, "2": 3, "3": 8, "+Inf": 10}, 1.0),  # 2 counts 5 too
        (0.9, {"1": 5, "2": 5 + 1e-13, "+Inf": 5 - 1e-13}, 0.9),
    ],
)
def test_quantile(phi: float, buckets: Buckets, expected: float | None) -> None:
    assert quantile(phi, buckets) == (None if expected is None else pytest.approx(expected, nan_ok=True))


def test_an_impossible_quantile_is_warned_of_even_of_nothing() -> None:
    when = moment()
    assert answers(histogram.quantile(scalar(2.0), vector()), when) == {}
    assert list(when.evaluation.warnings) == ["PromQL warning: quantile value should be between 0 and 1, got 2"]


@pytest.mark.parametrize(("dialect", "suffix"), [(None, ""), (LATER, ' for metric name "m_bucket"')])
def test_counts_that_decrease_are_informed_of(dialect: Dialect | None, suffix: str) -> None:
    decreasing, fine, nearly = {"1": 5.0, "2": 3.0, "+Inf": 9.0}, PLAIN, {"1": 5.0, "+Inf": 5.0 - 1e-13}
    for histograms, infos in (((fine, decreasing), [f"{FORCED}{suffix}"]), ((fine, nearly), [])):
        when = moment(dialect)
        answers(histogram.quantile(scalar(0.5), vector(*histograms)), when)
        assert list(when.evaluation.infos) == infos


@pytest.mark.parametrize(("dialect", "suffix"), [(None, ""), (LATER, ' for metric name "m_bucket"')])
def test_what_is_no_bucket_is_warned_of_where_it_is_present(dialect: Dialect | None, suffix: str) -> None:
    buckets: Buckets = {"0.1": 2, "+Inf": 10, "abc": 1, "": 2, "xyz": None}
    for function in (
        histogram.quantile(scalar(0.1), vector(buckets)),
        histogram.fraction(scalar(0.0), scalar(1.0), vector(buckets)),
        histogram.quantiles(vector(buckets), "q", (scalar(0.1),)),
    ):
        when = moment(dialect)
        assert len(answers(function, when)) == 1
        assert list(when.evaluation.warnings) == [
            f'PromQL warning: bucket label "le" is missing or has a malformed value of "{le}"{suffix}'
            for le in ("abc", "")
        ]


def test_histograms_are_told_apart_by_all_other_labels() -> None:
    several = vector(PLAIN, {"1": 1, "+Inf": 2}, {"0.1": 4, "0.2": 6, "1": 8, "+Inf": 8}, {"1": None, "+Inf": 5})
    assert answers(histogram.quantile(scalar(0.5), several)) == pytest.approx(
        {'{h="0"}': 0.175, '{h="1"}': 1.0, '{h="2"}': 0.1, '{h="3"}': math.nan}, nan_ok=True
    )


def test_histograms_that_differ_in_name_alone_collide_unless_names_go_later() -> None:
    one, other = (vector(PLAIN, name=name)(moment()) for name in ("a", "b"))
    values, present = (np.concatenate([getattr(one, part), getattr(other, part)]) for part in ("values", "present"))
    both = Vector(Series.joined(one.series, other.series), values, present)
    function = histogram.quantile(scalar(0.5), lambda _: both)
    with pytest.raises(QueryError, match="vector cannot contain metrics with the same labelset"):
        function(moment())
    later = function(moment(LATER))
    assert [repr(labels) for labels, _ in later.samples()] == ['a{h="0"}', 'b{h="0"}']
    assert later.series.doomed is not None
    assert later.series.doomed.all()


def test_several_quantiles_have_a_label() -> None:
    function = histogram.quantiles(vector(PLAIN), "q", (scalar(0.5), scalar(1.0), scalar(0.1), scalar(-1.0)))
    assert answers(function) == pytest.approx(
        {
            '{h="0", q="0.5"}': 0.175,
            '{h="0", q="1.0"}': 1.0,
            '{h="0", q="0.1"}': 0.05,
            '{h="0", q="-1.0"}': -math.inf,
        }
    )


def fraction(lower: float, upper: float, buckets: Buckets) -> float | None:
    return answers(histogram.fraction(scalar(lower), scalar(upper), vector(buckets))).get('{h="0"}')


@pytest.mark.parametrize(
    ("lower", "upper", "buckets", "expected"),
    [
        (0.0, 0.2, PLAIN, 0.6),
        (0.1, 0.2, PLAIN, 0.4),
        (-1.0, 0.15, PLAIN, 0.4),
        (0.15, math.inf, PLAIN, 0.6),
        (-math.inf, math.inf, PLAIN, 1.0),
        (2.0, math.inf, PLAIN, 0.2),
        (2.0, 3.0, PLAIN, 0.0),
        (0.2, 0.1, PLAIN, 0.0),
        (math.nan, 1.0, PLAIN, math.nan),
        (0.0, 1.0, {"1": 5}, math.nan),  # without +Inf
        (0.0, 1.0, {"1": 0, "+Inf": 0}, math.nan),
        (1.0, 0.0, {"1": 0, "+Inf": 0}, math.nan),
        (-3.0, -1.0, {"-2": 4, "0": 6, "+Inf": 8}, 1 / 8),  # what is below the lowest bound counts as above -3
        (-math.inf, -2.0, {"-2": 4, "0": 6, "+Inf": 8}, 0.5),
        (0.0, 0.5, {"1": None, "2": 4, "+Inf": 8}, 0.125),
        (0.0, 1.0, {"1": 1, "1.0": 1, "+Inf": 4}, 0.5),
        (0.0, 1.0, {"1": None}, None),
    ],
)
def test_fraction(lower: float, upper: float, buckets: Buckets, expected: float | None) -> None:
    found = fraction(lower, upper, buckets)
    assert found == (None if expected is None else pytest.approx(expected, nan_ok=True))


def test_of_floats_the_functions_of_native_histograms_say_nothing() -> None:
    assert answers(histogram.of_native(vector(PLAIN))) == {}


# --- Prometheus's loops, written out -----------------------------------------------------------------------------


def plain_quantile(phi: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    fixed = list(counts)
    for i in range(1, len(fixed)):
        near = abs(fixed[i] - fixed[i - 1]) < 1e-12 * (fixed[i] + fixed[i - 1]) and fixed[i - 1] > 0
        if fixed[i] < fixed[i - 1] or near:
            fixed[i] = fixed[i - 1]
    if bounds[-1] != math.inf or len(bounds) < 2 or fixed[-1] == 0:
        return math.nan
    rank = phi * fixed[-1]
    bucket = next((i for i in range(len(bounds) - 1) if fixed[i] >= rank), len(bounds) - 1)
    if bucket == len(bounds) - 1:
        return bounds[-2]
    if bucket == 0 and bounds[0] <= 0:
        return bounds[0]
    start, under = (bounds[bucket - 1], fixed[bucket - 1]) if bucket else (0.0, 0.0)
    width = fixed[bucket] - under
    return start + (bounds[bucket] - start) * ((rank - under) / width) if width else math.nan


def plain_rank(value: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    start, under = (-math.inf if bounds[0] <= 0 else 0.0), 0.0
    for bound, count in zip(bounds, counts, strict=True):
        if start >= value:
            return min(under, counts[-1])
        if bound > value:
            inside = count if start == -math.inf else under + (count - under) * (value - start) / (bound - start)
            return min(inside, counts[-1])
        start, under = bound, count
    return counts[-1]


histograms = st.lists(
    st.tuples(st.sampled_from([-5.0, -1.0, 0.0, 0.5, 1.0, 2.5, 10.0]), st.integers(0, 20)),
    max_size=6,
    unique_by=lambda bucket: bucket[0],
).map(lambda buckets: [*sorted((bound, float(count)) for bound, count in buckets), (math.inf, 15.0)])


@settings(max_examples=200, deadline=None)
@given(st.lists(histograms, min_size=1, max_size=5), st.floats(0, 1), st.data())
def test_against_the_loops_of_prometheus(
    many: list[list[tuple[float, float]]], phi: float, data: st.DataObject
) -> None:
    """Histograms of different sizes together, with some of their buckets missing."""
    holed: list[dict[str, float | None]] = []
    for one in many:
        holes = data.draw(st.lists(st.booleans(), min_size=len(one) - 1, max_size=len(one) - 1))
        kept = zip(one, [*holes, False], strict=True)
        holed.append({repr(bound): None if hole else count for (bound, count), hole in kept})
    found = answers(histogram.quantile(scalar(phi), vector(*holed)))
    shares = answers(histogram.fraction(scalar(-2.0), scalar(0.75), vector(*holed)))
    for place, one_holed in enumerate(holed):
        there = [(float(le), count) for le, count in one_holed.items() if count is not None]
        bounds, counts = [bound for bound, _ in there], [count for _, count in there]
        name = f'{{h="{place}"}}'
        assert found[name] == pytest.approx(plain_quantile(phi, bounds, counts), nan_ok=True)
        share = (plain_rank(0.75, bounds, counts) - plain_rank(-2.0, bounds, counts)) / counts[-1]
        assert shares[name] == pytest.approx(share)
