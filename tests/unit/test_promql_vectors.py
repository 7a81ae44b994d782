"""Selectors, operators, aggregations and functions on instant vectors, by Prometheus's rules."""

from __future__ import annotations

import math

import pytest

from rules import STALE, Dialect, Labels, Query, QueryError, SampleStore
from rules.labels import EMPTY

NOW = 1_000_000.0
IN_2, DELAYED = Dialect(compat=2), Dialect(delayed_names=True)


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


def ask(store: SampleStore, text: str, at: float = NOW, dialect: Dialect | None = None) -> dict[str, float]:
    query = Query.compile(text, dialect or Dialect())
    return {repr(labels): value for labels, value in query.evaluate(store, at)}


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
        ('label_replace(size, "", "x", "table", ".*")', "invalid destination label name"),
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


@pytest.fixture
def history() -> SampleStore:
    """A counter, one that ends, and one that is NaN; every 10 seconds from 0 to 600."""
    store = SampleStore(floor=math.inf)
    times = [float(time) for time in range(0, 601, 10)]
    store.fill(metric("hits_total", i="a"), times, times)
    store.fill(metric("hits_total", i="b"), times, [time if time < 300 else STALE for time in times])
    store.fill(metric("odd", i="a"), times, [math.nan] * len(times))
    return store


@pytest.mark.parametrize(
    ("text", "left_open", "closed"),
    [
        ('count_over_time(hits_total{i="a"}[1m])', 6, 7),
        ('sum_over_time(hits_total{i="a"}[20s])', 1190, 1770),
        ('count_over_time(hits_total{i="a"}[55s])', 6, 6),
        ('count_over_time(hits_total{i="a"}[10m:1m])', 10, 11),
        ('count_over_time(hits_total{i="a"}[1m:7s])', 8, 8),
        ('count_over_time(hits_total{i="a"}[1m:10s] offset 1m)', 6, 7),
        ('sum_over_time(hits_total{i="a"}[10s] @ 100)', 100, 190),
        ('hits_total{i="a"} offset 10s', 590, 590),
    ],
)
def test_ranges_are_open_on_the_left_and_were_closed(
    history: SampleStore, text: str, left_open: float, closed: float
) -> None:
    assert list(ask(history, text, 600).values()) == [left_open]
    assert list(ask(history, text, 600, IN_2).values()) == [closed]


def test_a_sample_of_just_five_minutes_counted_in_prometheus_2() -> None:
    store = SampleStore()
    store.land("s", 0, [(metric("m"), 1.0)])
    assert ask(store, "m", 300) == {}
    assert ask(store, "m", 300, IN_2) == {"m{}": 1}
    assert ask(store, "m", 300.001, IN_2) == {}


def test_a_dot_matches_a_newline_since_prometheus_3() -> None:
    store = SampleStore()
    store.land("s", 0, [(metric("m", text="a\nb"), 1.0)])
    assert len(ask(store, 'm{text=~"a.b"}', 0)) == 1
    assert ask(store, 'm{text=~"a.b"}', 0, IN_2) == {}


def test_a_filter_went_before_the_match_in_prometheus_2(store: SampleStore) -> None:
    text = "size > on (env) limit * 1.2"  # two of qa match, one of them is above
    with pytest.raises(QueryError, match="many-to-one"):
        ask(store, text)
    assert ask(store, text, NOW, IN_2) == {'{env="qa"}': 30}


def test_names_may_go_at_the_end(store: SampleStore) -> None:
    assert ask(store, "limit * 2", NOW, DELAYED) == ask(store, "limit * 2")
    assert ask(store, "sum by (__name__) (limit * 2)") == {"{}": 240}
    assert ask(store, "sum by (__name__) (limit * 2)", NOW, DELAYED) == {"{}": 240}
    assert ask(store, "sum by (__name__) (limit)", NOW, DELAYED) == {"limit{}": 120}
    by_name = 'sum by (__name__) ({__name__=~"limit|info"} * 2)'  # grouped by names that then go
    with pytest.raises(QueryError, match="same labelset"):
        ask(store, by_name, NOW, DELAYED)
    both = '-{__name__=~"limit|odd",env="qa"}'
    with pytest.raises(QueryError, match="same labelset"):
        ask(store, both)
    with pytest.raises(QueryError, match="same labelset"):
        ask(store, both, NOW, DELAYED)
    assert ask(store, f"count({both})", NOW, DELAYED) == {"{}": 2}
    named = f'label_replace({both}, "was", "$1", "__name__", "(.*)")'
    assert ask(store, named, NOW, DELAYED).keys() == {'{env="qa", was="limit"}', '{env="qa", was="odd"}'}


def ranged(store: SampleStore, text: str, start: float, end: float, step: float) -> dict[str, dict[float, float]]:
    answer = Query.compile(text).range(store, start, end, step)
    assert answer.kind == "matrix"
    assert [row[0].pairs for row in answer.matrix] == sorted(row[0].pairs for row in answer.matrix)
    return {
        repr(labels): dict(zip(times.tolist(), values.tolist(), strict=True)) for labels, times, values in answer.matrix
    }


def test_over_time_a_series_has_its_own_times(history: SampleStore) -> None:
    found = ranged(history, "hits_total", 0, 600, 100)
    assert found == {
        'hits_total{i="a"}': {time: time for time in (0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0)},
        'hits_total{i="b"}': {0.0: 0.0, 100.0: 100.0, 200.0: 200.0},
    }
    assert ranged(history, "hits_total > 150 < 350", 0, 600, 100) == {
        'hits_total{i="a"}': {200.0: 200.0, 300.0: 300.0},
        'hits_total{i="b"}': {200.0: 200.0},
    }
    assert ranged(history, "time() / 100", 100, 250, 100) == {"{}": {100.0: 1.0, 200.0: 2.0}}
    assert ranged(history, "nothing", 0, 600, 100) == {}
    assert ranged(history, "1", 10, 0, 1) == {}


def test_the_ends_of_a_range_query_may_be_named(history: SampleStore) -> None:
    found = ranged(history, 'hits_total{i="a"} @ start() + hits_total{i="a"} @ end()', 100, 300, 100)
    assert found == {'{i="a"}': {100.0: 400.0, 200.0: 400.0, 300.0: 400.0}}
    assert ask(history, 'hits_total{i="a"} @ start()', 200) == {'hits_total{i="a"}': 200}


@pytest.mark.parametrize(
    "text",
    [
        "hits_total",
        "sum(rate(hits_total[1m]))",
        "topk(1, hits_total)",
        "hits_total offset 35s",
        "absent(hits_total{i='b'})",
    ],
)
def test_a_range_query_is_its_instants(history: SampleStore, text: str) -> None:
    query = Query.compile(text)
    steps: dict[str, dict[float, float]] = {}
    for time in range(5, 600, 45):
        for labels, value in query.evaluate(history, time):
            steps.setdefault(repr(labels), {})[float(time)] = value
    assert ranged(history, text, 5, 599, 45) == steps


def test_over_time_two_series_become_one_where_they_never_meet(history: SampleStore) -> None:
    store = SampleStore(floor=math.inf)
    store.fill(metric("one"), [0, 10, 20], [1.0, 2.0, STALE])
    store.fill(metric("two"), [20, 30], [3.0, 4.0])
    text = '-{__name__=~"one|two"}'
    assert ranged(store, text, 0, 30, 10) == {"{}": {0.0: -1.0, 10.0: -2.0, 20.0: -3.0, 30.0: -4.0}}
    later = Query.compile(text, DELAYED).range(store, 0, 30, 10)
    assert [(row[1].tolist(), row[2].tolist()) for row in later.matrix] == [([0, 10, 20, 30], [-1, -2, -3, -4])]
    with pytest.raises(QueryError, match="same labelset"):
        Query.compile('-{__name__=~"hits_total|odd",i="a"}', DELAYED).range(history, 0, 10, 10)


def test_a_range_vector_is_its_samples(history: SampleStore) -> None:
    answer = Query.compile("hits_total[30s]").instant(history, 310)
    assert [(repr(row[0]), row[1].tolist(), row[2].tolist()) for row in answer.matrix] == [
        ('hits_total{i="a"}', [290, 300, 310], [290, 300, 310]),
        ('hits_total{i="b"}', [290], [290]),
    ]


@pytest.mark.parametrize(
    ("text", "warnings", "infos"),
    [
        ("hits_total", 0, 0),
        ("quantile(2, hits_total)", 1, 0),
        ("quantile(2, hits_total) + quantile(2, odd)", 1, 0),  # the same only once
        ("quantile(2, hits_total) + quantile(-1, odd)", 2, 0),
        ("rate(hits_total[1m])", 0, 0),
        ("rate(odd[1m])", 0, 1),
        ("rate(odd[1m]) + quantile(2, hits_total)", 1, 1),
        ("rate(nothing[1m])", 0, 0),
    ],
)
def test_warnings_and_infos(history: SampleStore, text: str, warnings: int, infos: int) -> None:
    for answer in (Query.compile(text).instant(history, 100), Query.compile(text).range(history, 0, 200, 10)):
        assert (len(answer.warnings), len(answer.infos)) == (warnings, infos)
        assert all(one.startswith("PromQL warning: ") for one in answer.warnings)
        assert all(one.startswith("PromQL info: ") for one in answer.infos)
