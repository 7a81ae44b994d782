"""Aggregations: by hand, against the same by groups one at a time, and with elements missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import QueryError, SampleStore
from rules.labels import EMPTY, Labels
from rules.promql.aggregate import RANKED, SIMPLE, Grouping, count_values, quantile, ranked, simple
from rules.promql.evaluation import Dialect, Evaluation, Moment
from rules.promql.vector import Series, Vector

ALL = Grouping(by=True, labels=())
BY_G = Grouping(by=True, labels=("g",))
NOW = 1_700_000_000.0


def moment() -> Moment:
    return Moment(Evaluation(SampleStore(), Dialect(), NOW, NOW), NOW)


def element(group: str, place: int) -> Labels:
    return Labels({"__name__": "m", "g": group, "i": f"{place:03}"})


def vector(elements: Sequence[tuple[str, float | None]], doomed: Sequence[bool] | None = None) -> Vector:
    """Groups and values; None: not present."""
    labels = tuple([element(group, place) for place, (group, _) in enumerate(elements)])
    values = np.array([0.0 if value is None else value for _, value in elements])
    present = np.array([value is not None for _, value in elements], np.bool_)
    return Vector(Series(labels, None if doomed is None else np.array(doomed)), values, present)


def constant(found: Vector) -> Callable[[Moment], Vector]:
    return lambda _: found


def scalar(value: float) -> Callable[[Moment], float]:
    return lambda _: value


def groups(found: Vector) -> dict[str, float]:
    return {labels.value("g"): value for labels, value in found.samples()}


def aggregated(operator: str, values: Sequence[float]) -> float:
    found = simple(operator, constant(vector([("a", value) for value in values])), ALL)
    with np.errstate(all="ignore"):
        return dict(found(moment()).samples())[EMPTY]


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("sum", [1, 2, 4], 7.0),
        ("sum", [1e100, 1, -1e100], 1.0),
        ("sum", [1, 1e100, 1, -1e100], 2.0),
        ("sum", [math.inf, -math.inf], math.nan),
        ("sum", [1.7e308] * 3, math.inf),
        ("avg", [1, 2, 6], 3.0),
        ("avg", [1.7e308] * 3, 1.7e308),
        ("avg", [math.inf, 1], math.inf),
        ("avg", [math.inf, -math.inf], math.nan),
        ("min", [2, math.nan, 1], 1.0),
        ("max", [2, math.nan, -math.inf], 2.0),
        ("max", [math.nan, math.nan], math.nan),
        ("count", [math.nan, 1], 2.0),
        ("group", [math.nan, 1], 1.0),
        ("stdvar", [2, 4, 4, 4, 5, 5, 7, 9], 4.0),
        ("stddev", [2, 4, 4, 4, 5, 5, 7, 9], 2.0),
        ("stddev", [1e15, 1e15 + 2], 1.0),
        ("stdvar", [math.inf], math.nan),
        ("stdvar", [1, math.nan], math.nan),
    ],
)
def test_simple(operator: str, values: list[float], expected: float) -> None:
    assert aggregated(operator, values) == pytest.approx(expected, rel=1e-14, nan_ok=True)


def test_a_constant_has_no_deviation_at_all() -> None:
    assert aggregated("stddev", [1.5990505637277868] * 3) == 0.0


def test_grouping() -> None:
    found = constant(vector([("a", 1.0), ("b", 2.0), ("a", 4.0), ("c", None)]))

    def labels(grouping: Grouping) -> list[tuple[str, float]]:
        return [(repr(one), value) for one, value in simple("sum", found, grouping)(moment()).samples()]

    assert labels(ALL) == [("{}", 7.0)]
    assert labels(BY_G) == [('{g="a"}', 5.0), ('{g="b"}', 2.0)]
    assert labels(Grouping(by=True, labels=("__name__", "none"))) == [("m{}", 7.0)]
    assert labels(Grouping(by=False, labels=("i",))) == [('{g="a"}', 5.0), ('{g="b"}', 2.0)]
    assert labels(Grouping(by=False, labels=("g", "i"))) == [("{}", 7.0)]


@pytest.mark.parametrize("operator", SIMPLE)
def test_nothing_is_no_group(operator: str) -> None:
    for elements in ([], [("a", None)]):
        assert not list(simple(operator, constant(vector(elements)), ALL)(moment()).samples())


def test_names_that_go_later_take_the_groups_name_with_them() -> None:
    found = constant(vector([("a", 1.0), ("b", 2.0)], doomed=[True, False]))
    by_name = simple("sum", found, Grouping(by=True, labels=("__name__", "g")))(moment()).series
    assert [repr(labels) for labels in by_name.labels] == ['m{g="a"}', 'm{g="b"}']
    assert by_name.doomed is not None
    assert by_name.doomed.tolist() == [True, False]
    assert simple("sum", found, BY_G)(moment()).series.doomed is None


values_or_none = st.one_of(
    st.none(),
    st.floats(-1e6, 1e6),
    st.integers(0, 3).map(float),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
elements_ = st.lists(st.tuples(st.sampled_from("abc"), values_or_none), max_size=12)


@settings(max_examples=100, deadline=None)
@given(elements_)
def test_groups_do_not_touch_each_other(elements: list[tuple[str, float | None]]) -> None:
    """The memory of the group order, with and without missing elements, against each group on its own."""
    operators = {name: simple(name, constant(vector(elements)), BY_G) for name in SIMPLE}
    operators["quantile"] = quantile(scalar(0.3), constant(vector(elements)), BY_G)
    with np.errstate(all="ignore"):
        found = {name: groups(operator(moment())) for name, operator in operators.items()}
        for group in "abc":
            alone = constant(vector([(one, value) for one, value in elements if one == group and value is not None]))
            for name, together in found.items():
                if name == "quantile":
                    separately = groups(quantile(scalar(0.3), alone, BY_G)(moment()))
                else:
                    separately = groups(simple(name, alone, BY_G)(moment()))
                here = {group: together[group]} if group in together else {}
                assert here == pytest.approx(separately, rel=1e-12, nan_ok=True)


# --- quantile ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phi", "expected", "warned"),
    [
        (0.0, {"a": 1.0, "b": math.nan}, None),
        (0.5, {"a": 2.5, "b": 5.0}, None),
        (0.75, {"a": 3.25, "b": 5.5}, None),
        (1.0, {"a": 4.0, "b": 6.0}, None),
        (-1.0, {"a": -math.inf, "b": -math.inf}, "-1"),
        (1.5, {"a": math.inf, "b": math.inf}, "1.5"),
        (math.nan, {"a": math.nan, "b": math.nan}, "NaN"),
    ],
)
def test_quantile(phi: float, expected: dict[str, float], warned: str | None) -> None:
    elements = [("a", 4.0), ("b", 6.0), ("a", 1.0), ("a", 3.0), ("b", math.nan), ("b", 5.0), ("a", 2.0), ("c", None)]
    when = moment()
    assert groups(quantile(scalar(phi), constant(vector(elements)), BY_G)(when)) == pytest.approx(expected, nan_ok=True)
    text = f"PromQL warning: quantile value should be between 0 and 1, got {warned}"
    assert list(when.evaluation.warnings) == ([text] if warned else [])


# --- some of the elements ----------------------------------------------------------------------------------------

SOME = [("a", 3.0), ("b", 7.0), ("a", math.nan), ("b", 8.0), ("a", 1.0), ("a", 2.0), ("b", None)]


@pytest.mark.parametrize(
    ("operator", "k", "grouping", "expected"),
    [
        ("topk", 2.9, ALL, ["003", "001"]),
        ("topk", 2, BY_G, ["000", "005", "003", "001"]),
        ("bottomk", 3, BY_G, ["004", "005", "000", "001", "003"]),
        ("topk", 4, BY_G, ["000", "005", "004", "002", "003", "001"]),  # NaN only where there is nothing else
        ("topk", 1, Grouping(by=False, labels=("i",)), ["000", "003"]),
        ("bottomk", 0.9, ALL, []),
        ("topk", -math.inf, ALL, []),
        ("limitk", 2, BY_G, ["000", "002", "001", "003"]),
        ("limitk", 100, ALL, ["000", "001", "002", "003", "004", "005"]),
    ],
)
def test_ranked(operator: str, k: float, grouping: Grouping, expected: list[str]) -> None:
    found = constant(vector(SOME))
    in_order = ranked(operator, found, scalar(k), grouping, ordered=True)(moment())
    unordered = ranked(operator, found, scalar(k), grouping)(moment())
    chosen = [labels.value("i") for labels, _ in unordered.samples()]
    assert chosen == sorted(expected)
    names = [labels.value("i") for labels, _ in in_order.samples()]
    assert names == (sorted(expected) if operator == "limitk" else expected)
    assert all(labels.name == "m" for labels, _ in unordered.samples())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, math.nan]), min_size=1, max_size=40), st.integers(1, 10))
def test_one_group_is_ranked_as_one_of_many(values: list[float], k: int) -> None:
    for operator in ("topk", "bottomk"):
        one = ranked(operator, constant(vector([("a", value) for value in values])), scalar(k), ALL, ordered=True)
        many = vector([*[("a", value) for value in values], ("b", 0.0)])
        of_many = ranked(operator, constant(many), scalar(k), BY_G, ordered=True)
        expected = [labels.value("i") for labels, _ in of_many(moment()).samples() if labels.value("g") == "a"]
        assert [labels.value("i") for labels, _ in one(moment()).samples()] == expected


@pytest.mark.parametrize("operator", sorted(RANKED))
def test_parameters_that_are_no_numbers(operator: str) -> None:
    message = "Ratio value is NaN" if operator == "limit_ratio" else "Parameter value is NaN"
    with pytest.raises(QueryError, match=message):
        ranked(operator, constant(vector([])), scalar(math.nan), ALL)(moment())


@pytest.mark.parametrize(("k", "text"), [(1e20, r"1e\+20"), (math.inf, r"\+Inf")])
def test_parameters_that_are_too_large(k: float, text: str) -> None:
    with pytest.raises(QueryError, match=f"Scalar value {text} overflows int64"):
        ranked("topk", constant(vector(SOME)), scalar(k), ALL)(moment())


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (1.0, 300), (-1.0, 300), (1.5, 300), (-2.0, 300)])
def test_ratio_of_all_or_nothing(ratio: float, count: int) -> None:
    found, when = constant(vector([("a", 1.0)] * 300)), moment()
    assert ranked("limit_ratio", found, scalar(ratio), ALL)(when).present.sum() == count
    capped = {1.5: "1.5, capping to 1", -2.0: "-2, capping to -1"}.get(ratio)
    text = f"PromQL warning: ratio value should be between -1 and 1, got {capped}"
    assert list(when.evaluation.warnings) == ([text] if capped else [])


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_a_ratio_and_its_complement(ratio: float) -> None:
    found = constant(vector([("a", 1.0)] * 1000))
    chosen = ranked("limit_ratio", found, scalar(ratio), ALL)(moment()).present
    others = ranked("limit_ratio", found, scalar(ratio - 1), ALL)(moment()).present
    assert (chosen != others).all()
    assert chosen.sum() == pytest.approx(1000 * ratio, abs=60)


# --- count_values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "grouping", "expected"),
    [
        ("v", ALL, {'{v="1"}': 3, '{v="0.000001"}': 1, '{v="NaN"}': 2, '{v="+Inf"}': 1}),
        (
            "v",
            BY_G,
            {
                '{g="a", v="1"}': 2,
                '{g="b", v="1"}': 1,
                '{g="a", v="NaN"}': 2,
                '{g="b", v="0.000001"}': 1,
                '{g="b", v="+Inf"}': 1,
            },
        ),
        ("g", Grouping(by=False, labels=("i",)), {'{g="1"}': 3, '{g="0.000001"}': 1, '{g="NaN"}': 2, '{g="+Inf"}': 1}),
        ("g", BY_G, {'{g="1"}': 3, '{g="0.000001"}': 1, '{g="NaN"}': 2, '{g="+Inf"}': 1}),
        ("i", Grouping(by=False, labels=("g", "i")), {"{}": 7}),
        ("__name__", ALL, {"1{}": 3, "0.000001{}": 1, "NaN{}": 2, "+Inf{}": 1}),
    ],
)
def test_count_values(label: str, grouping: Grouping, expected: dict[str, int]) -> None:
    elements = [
        *[("a", 1.0), ("b", 1.0), ("a", 1.0), ("a", math.nan), ("a", math.nan)],
        *[("b", 1e-6), ("b", math.inf), ("b", None)],
    ]
    found = count_values(label, constant(vector(elements)), grouping)(moment())
    assert {repr(labels): value for labels, value in found.samples()} == expected


def test_count_values_needs_a_label() -> None:
    with pytest.raises(QueryError, match="invalid label name "):
        count_values("", constant(vector([])), ALL)
