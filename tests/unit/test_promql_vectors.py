"""Selectors, operators, aggregations and functions on instant vectors, by Prometheus's rules."""

from __future__ import annotations

import math

import pytest

from rules import Labels, Query, QueryError, SampleStore
from rules.labels import EMPTY

NOW = 1_000_000.0


def metric(name: str, **labels: str) -> Labels:
    return Labels({"__name__": name, **labels})


@pytest.fixture
def store() -> SampleStore:
    store = SampleStore()
    store.land(
        "one",
        NOW,
        [
            (metric("size", env="qa", table="a"), 10.0),
            (metric("size", env="qa", table="b"), 30.0),
            (metric("size", env="prod", table="a"), 50.0),
            (metric("limit", env="qa"), 20.0),
            (metric("limit", env="prod"), 100.0),
            (metric("info", env="qa", version="18"), 1.0),
            (metric("info", env="prod", version="15"), 1.0),
            (metric("odd", env="qa"), math.nan),
        ],
    )
    return store


def ask(store: SampleStore, text: str, at: float = NOW) -> dict[str, float]:
    return {repr(labels): value for labels, value in Query.compile(text).evaluate(store, at)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('size{table="a"}', {'size{env="prod", table="a"}': 50, 'size{env="qa", table="a"}': 10}),
        ('size{table!="a"}', {'size{env="qa", table="b"}': 30}),
        ('size{env=~"q|pro"}', {}),  # anchored
        ('size{env=~"q.|x",table=~"[b-z]"}', {'size{env="qa", table="b"}': 30}),
        ('size{env!~"p.*"} > 10', {'size{env="qa", table="b"}': 30}),
        ('limit{table=""}', {'limit{env="prod"}': 100, 'limit{env="qa"}': 20}),  # a missing label is empty
        ('{__name__=~"lim.+",env="qa"}', {'limit{env="qa"}': 20}),
        ('{"limit",env="qa"}', {'limit{env="qa"}': 20}),
        # arithmetic drops the name, a filter keeps it, bool drops it
        ("limit * 2 + 1", {'{env="prod"}': 201, '{env="qa"}': 41}),
        ("-limit", {'{env="prod"}': -100, '{env="qa"}': -20}),
        ("limit < 50", {'limit{env="qa"}': 20}),
        ("50 > limit", {'limit{env="qa"}': 20}),
        ("limit > bool 50", {'{env="prod"}': 1, '{env="qa"}': 0}),
        ("1 + 2 * 3 ^ 2 % 5", {"{}": 4}),
        ("1 / 0", {"{}": math.inf}),
        ("2 < bool 1", {"{}": 0}),
        ("odd != 1", {'odd{env="qa"}': math.nan}),
        ("odd == odd", {}),  # NaN equals nothing
        # matching
        (
            "size / on (env) group_left limit",
            {'{env="prod", table="a"}': 0.5, '{env="qa", table="a"}': 0.5, '{env="qa", table="b"}': 1.5},
        ),
        ("limit < on (env) group_right () size", {'size{env="qa", table="b"}': 20}),
        (
            'size{env="qa"} * on (env) group_left (version) info',
            {'{env="qa", table="a", version="18"}': 10, '{env="qa", table="b", version="18"}': 30},
        ),
        ('size{table="a"} > ignoring (table) limit', {}),
        ('size{table="a"} + ignoring (table) limit', {'{env="prod"}': 150, '{env="qa"}': 30}),
        ('size{table="b"} > on (env) limit', {'{env="qa"}': 30}),
        # sets
        ("size and on (env) (limit < 50)", {'size{env="qa", table="a"}': 10, 'size{env="qa", table="b"}': 30}),
        ("size unless on (env) (limit < 50)", {'size{env="prod", table="a"}': 50}),
        ("(limit < 50) or limit", {'limit{env="qa"}': 20, 'limit{env="prod"}': 100}),
        ("size and on () absent_one", {}),
        ('limit{env="qa"} or on () size', {'limit{env="qa"}': 20}),
        # aggregation
        ("sum(size)", {"{}": 90}),
        ("sum by (env) (size)", {'{env="qa"}': 40, '{env="prod"}': 50}),
        ("max without (table) (size)", {'{env="qa"}': 30, '{env="prod"}': 50}),
        ("min(size)", {"{}": 10}),
        ("avg by (table) (size)", {'{table="a"}': 30, '{table="b"}': 30}),
        ("count by (env) (size > 10)", {'{env="qa"}': 1, '{env="prod"}': 1}),
        ("group by (env) (size)", {'{env="qa"}': 1, '{env="prod"}': 1}),
        ("sum by (__name__) (size)", {"size{}": 90}),
        ("sum(nothing)", {}),
        ('min({__name__=~"odd|limit"})', {"{}": 20}),  # NaN only where there is nothing else
        ("topk(1, size)", {'size{env="prod", table="a"}': 50}),
        ("bottomk by (env) (1, size)", {'size{env="qa", table="a"}': 10, 'size{env="prod", table="a"}': 50}),
        ("topk(0, size)", {}),
        # functions
        ("time()", {"{}": NOW}),
        ("vector(3)", {"{}": 3}),
        ('scalar(limit{env="qa"}) + 1', {"{}": 21}),
        ("scalar(limit)", {"{}": math.nan}),
        ('absent(limit{env="x",table=~"y"})', {'{env="x"}': 1}),
        ("absent(limit)", {}),
        ("absent(sum(nothing))", {"{}": 1}),
        ("clamp_max(limit, 50)", {'{env="prod"}': 50, '{env="qa"}': 20}),
        ("clamp(limit, 30, 50)", {'{env="prod"}': 50, '{env="qa"}': 30}),
        ("clamp(limit, 50, 30)", {}),
        ("round(limit / 3, 0.5)", {'{env="prod"}': 33.5, '{env="qa"}': 6.5}),
        ("abs(floor(limit / -3))", {'{env="prod"}': 34, '{env="qa"}': 7}),
        ('timestamp(limit{env="qa"})', {'{env="qa"}': NOW}),
        (
            'label_replace(limit, "site", "$1-x", "env", "(q).")',
            {'limit{env="prod"}': 100, 'limit{env="qa", site="q-x"}': 20},
        ),
        ('label_replace(limit{env="qa"}, "env", "", "env", ".*")', {"limit{}": 20}),
    ],
)
def test_expression(store: SampleStore, text: str, expected: dict[str, float]) -> None:
    found = ask(store, text)
    assert found.keys() == expected.keys()
    assert list(found.values()) == pytest.approx([expected[key] for key in found], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limit / on (env) size", "found duplicate series for the match group"),
        ("size / on (env) limit", "many-to-one matching must be explicit"),
        ("size * on (env) group_left (table) limit", "grouping labels must ensure unique matches"),
        ('label_replace(size, "table", "", "table", ".*")', "same labelset"),
        ('-{env="qa",table!="b"}', "same labelset"),
        ("topk(0/0, size)", "NaN"),
        ('label_replace(size, "no-name", "", "table", ".*")', "invalid destination label name"),
    ],
)
def test_data_that_cannot_be_matched_is_an_error(store: SampleStore, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        ask(store, text)


def test_only_what_is_present_can_be_doubled(store: SampleStore) -> None:
    assert ask(store, 'label_replace(size > 40, "table", "", "table", ".*")') == {'size{env="prod"}': 50}
    assert ask(store, "limit / on (env) (size > 40)") == {'{env="prod"}': 2}


def test_a_sample_counts_for_less_than_five_minutes(store: SampleStore) -> None:
    assert ask(store, 'limit{env="qa"}', NOW + 299.9) == {'limit{env="qa"}': 20}
    assert ask(store, 'limit{env="qa"}', NOW + 300) == {}


def test_a_series_that_left_its_batch_is_gone_at_once(store: SampleStore) -> None:
    query = Query.compile("limit")
    assert len(query.evaluate(store, NOW)) == 2
    store.land("one", NOW + 15, [(metric("limit", env="prod"), 99.0)])
    assert query.evaluate(store, NOW + 15) == [(metric("limit", env="prod"), 99.0)]
    store.land("one", NOW + 30, [(metric("limit", env="qa"), 5.0), (metric("limit", env="prod"), 98.0)])
    assert dict(query.evaluate(store, NOW + 30)) == {metric("limit", env="qa"): 5.0, metric("limit", env="prod"): 98.0}


def test_one_series_from_several_sources_is_one_series_with_the_newest_sample() -> None:
    store, up = SampleStore(), metric("up", env="qa")
    store.land("tables", 10, [(up, 1.0)])
    store.land("indexes", 20, [(up, 0.0)])
    query = Query.compile("up == 0")
    assert query.evaluate(store, 20) == [(up, 0.0)]
    store.land("tables", 30, [(up, 1.0)])
    assert query.evaluate(store, 30) == []
    store.land("tables", 40, [])
    assert query.evaluate(store, 40) == [(up, 0.0)]


def test_sums_lose_no_digits() -> None:
    store = SampleStore()
    values = [1e100, 1.0, -1e100]
    store.land("s", NOW, [(metric("x", i=str(i)), value) for i, value in enumerate(values)])
    assert Query.compile("sum(x)").evaluate(store, NOW) == [(EMPTY, 1.0)]
    store.land("s", NOW, [(metric("x", i=str(i)), 1.7e308) for i in range(3)])
    assert dict(Query.compile("avg(x)").evaluate(store, NOW))[EMPTY] == pytest.approx(1.7e308)
    assert Query.compile("sum(x)").evaluate(store, NOW) == [(EMPTY, math.inf)]


def test_label_work_follows_changing_label_sets() -> None:
    """What is remembered from one evaluation must not answer for other series."""
    store = SampleStore()
    query = Query.compile("sum by (env) (size * on (env) group_left (version) info)")
    for round_ in range(4):
        sizes = [(metric("size", env="qa", table=str(t)), 1.0) for t in range(round_ + 1)]
        version = metric("info", env="qa", version=str(round_ // 2))
        store.land("one", NOW + round_, [*sizes, (version, 2.0)])
        assert query.evaluate(store, NOW + round_) == [(Labels({"env": "qa"}), 2.0 * (round_ + 1))]
