"""What is refused when an expression is compiled, what is known of one that is not, and what it may cost."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Answer, Dialect, Labels, Query, QueryError, RangeQuery, SampleStore
from rules.promql.evaluation import Evaluation
from tests.judging import Timer

EXPERIMENTAL = Dialect(experimental=True)
YEAR = 365 * 86_400.0
REGEX = "illegal regex|not one of RE2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("limitk(2, foo)", r"limitk\(\) is experimental"),
        ("sort_by_label(foo, 'a')", r"sort_by_label\(\) is experimental"),
        ("mad_over_time(foo[5m])", r"mad_over_time\(\) is experimental"),
        ("double_exponential_smoothing(foo[5m], 0.1, 0.1)", "experimental"),
        ("a + on (x) group_left fill (0) b", "fill modifiers are experimental"),
        ('foo{a="1" or b="2"}', "`or` between label matchers"),
        ("label_replace(foo, 'a', 'b', 'c', '(?<=x)y')", "regular expression"),
        ("label_replace(foo, 'a', 'b', 'c', '(x)\\\\1')", "regular expression"),
        ("foo{a=~'(?=x)'}", REGEX),
        ("foo{a=~'x{1001}'}", REGEX),
        ("foo{a=~'((x{1000}){1000}){1000}'}", REGEX),
        ("foo{a!~'('}", REGEX),
        ("foo{a=~'x++'}", REGEX),
        ("foo[5m:1m][5m:1m]", "parse"),
        ("rate(foo)", "parse"),
        ("foo(", "parse"),
        ("", "parse"),
        ("sum(1)", "parse"),
        ("foo == and bar", "parse"),
        ("foo + foo[5m]", "parse"),
        ("info(foo)", "parse|not supported"),
        ("foo{}[5m] anchored", "parse"),
    ],
)
def test_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        Query.compile(text)


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        (r"\\Qa.b\\E", "a.b"),
        ("[[a]", "["),
        (r"\\101", "A"),
        (r"\\w{1,500}", "x"),
        (r"(\\w{1,100}\\.){3}\\w+", "db.example.org.x"),
        (r"[\\w.-]{1,253}:[0-9]+", "db-1.example.org:5432"),
        ("(?i)ABC", "abc"),
        ("a((?i)B)", "ab"),
        ("|a", "a"),
    ],
)
def test_a_regular_expression_that_prometheus_takes(pattern: str, value: str) -> None:
    one = SampleStore()
    one.land("s", 0, [(Labels({"__name__": "foo", "a": value}), 1.0), (Labels({"__name__": "foo", "a": "?"}), 1.0)])
    assert [labels["a"] for labels, _ in Query.compile(f'foo{{a=~"{pattern}"}}').evaluate(one, 0)] == [value]
    assert [labels["a"] for labels, _ in Query.compile(f'foo{{a!~"{pattern}"}}').evaluate(one, 0)] == ["?"]


def test_a_huge_regular_expression_is_refused_in_few_words() -> None:
    with pytest.raises(QueryError) as caught:
        Query.compile("foo{a=~'" + "(x{50}y{50}){20}" * 2000 + "'}")
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    "text",
    [
        "limitk(2, foo)",
        "sort_by_label(foo, 'a')",
        "mad_over_time(foo[5m])",
        "histogram_quantiles(foo, 'q', 0.5)",
        "double_exponential_smoothing(foo[5m], 0.1, 0.1)",
    ],
)
def test_what_is_experimental_is_there_where_it_is_enabled(text: str) -> None:
    assert Query.compile(text, EXPERIMENTAL).evaluate(SampleStore(), 0) == []
    for dialect in (Dialect(), Dialect(compat=2)):
        if dialect.compat == 3 or "smoothing" not in text:
            with pytest.raises(QueryError, match="experimental"):
                Query.compile(text, dialect)


@pytest.mark.parametrize(
    "text",
    [
        *("(" * 700 + "1" + ")" * 700, "1" + "+1" * 390, "-" * 390 + "a", "a" + " or a" * 390),
        *("sum(" * 200 + "a" + ")" * 200, "abs(" * 200 + "a" + ")" * 200),
        "max_over_time(" * 100 + "a" + "[1s:1s])" * 100,
    ],
    ids=["parentheses", "operators", "signs", "sets", "aggregations", "calls", "subqueries"],
)
def test_nesting_that_is_compiled_is_also_evaluated(text: str) -> None:
    query = Query.compile(text)
    query.instant(SampleStore(), 0)
    query.range(SampleStore(), 0, 10, 5)


@pytest.mark.parametrize(
    "text",
    ["sum(" * 450 + "a" + ")" * 450, "1" + "+1" * 450, "-" * 450 + "a", "(" * 10_000 + "1" + ")" * 10_000],
    ids=["aggregations", "operators", "signs", "parentheses"],
)
def test_deeper_nesting_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match=r"nested too deeply|operators and brackets"):
        Query.compile(text)


def test_text_in_quotes_and_comments_is_no_depth() -> None:
    query = Query.compile('foo{a="' + "((((-+" * 5000 + '"} # ' + "(" * 5000)
    assert query.evaluate(SampleStore(), 0) == []


@pytest.mark.parametrize(
    ("text", "names", "windows", "ranged"),
    [
        ("up == 0", {"up"}, {}, False),
        ("a and on (x) {__name__='b'} unless c", {"a", "b", "c"}, {}, False),
        ('{"a b", x="y"}', {"a b"}, {}, False),
        ("time() + 1", set(), {}, False),
        ("rate(a[5m]) > rate(a[10m]) + b", {"a", "b"}, {"a": 600.0}, True),
        ("rate(a[5m])", {"a"}, {}, True),  # no more than is always kept
        ("a + on () {x='y'}", None, {}, False),
        ("{__name__=~'a.*'}", None, {}, False),
        ("rate({__name__=~'a.*'}[1h]) + b", None, {"": 3600.0}, True),
        ("a offset 5m", {"a"}, {"a": 600.0}, False),
        ("a offset -5m", {"a"}, {}, False),
        ("rate(a[5m] offset 1h)", {"a"}, {"a": 3900.0}, True),
        ("rate(a[1h] offset -1h)", {"a"}, {"a": 3600.0}, True),
        ("max_over_time(a[1h:1m])", {"a"}, {"a": 3900.0}, True),
        ("max_over_time(a[1h:1m] offset 1h)", {"a"}, {"a": 7500.0}, True),
        ("max_over_time(rate(a[10m])[1h:1m])", {"a"}, {"a": 4200.0}, True),
        (
            "max_over_time((max_over_time((a offset 1m)[1h:1m]) + b)[1d:1h])",
            {"a", "b"},
            {"a": 90_360.0, "b": 86_700.0},
            True,
        ),
        ("avg_over_time(vector(time())[1h:1m])", set(), {}, True),
    ],
)
def test_what_it_reads(text: str, names: set[str] | None, windows: dict[str, float], ranged: bool) -> None:
    query = Query.compile(text)
    assert query.names == names
    assert query.windows == windows
    assert query.ranged is ranged


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a", "vector"),
        ("(a)", "vector"),
        ("-a", "vector"),
        ("1", "scalar"),
        ("-1 + time()", "scalar"),
        ("scalar(a)", "scalar"),
        ("vector(1)", "vector"),
        ("a[5m]", "matrix"),
        ("a[5m:1m]", "matrix"),
        ("((a[5m] offset 1m))", "matrix"),
        ('"text"', "string"),
        ('("text")', "string"),
    ],
)
def test_kind(text: str, kind: str) -> None:
    query = Query.compile(text)
    assert query.kind == kind
    assert query.instant(SampleStore(), 0).kind == kind
    if kind in {"matrix", "string"}:
        with pytest.raises(QueryError, match="not a vector or scalar"):
            query.evaluate(SampleStore(), 0)
        with pytest.raises(QueryError, match=r'invalid expression type "(range vector|string)" for range query'):
            query.range(SampleStore(), 0, 10, 5)
    else:
        assert query.range(SampleStore(), 0, 10, 5).kind == "matrix"


def store(count: int = 1, seconds: int = 600) -> SampleStore:
    one = SampleStore(floor=1e9)
    series = [Labels({"__name__": "m", "i": str(number)}) for number in range(count)]
    for time in range(0, seconds, 10):
        one.land("s", time, [(labels, float(time)) for labels in series])
    return one


def test_a_query_costs_samples_and_not_more_than_it_may() -> None:
    many = store(100)
    query = Query.compile("sum_over_time(m[5m])")
    with pytest.raises(QueryError, match="too many samples"):
        query.evaluate(many, 590, samples=3000)
    assert len(query.evaluate(many, 590, samples=3100)) == 100
    with pytest.raises(QueryError, match="too many samples"):
        query.range(many, 0, 590, 10, samples=3100)  # all steps together
    with pytest.raises(QueryError, match="too many samples"):
        Query.compile("m").range(many, 0, 590, 10, samples=6000)
    assert len(query.evaluate(many, 590)) == 100  # it is as it was


@pytest.mark.parametrize(
    "text",
    [
        "max_over_time(vector(1)[1y:1m])",
        "max_over_time(max_over_time(m[1y:1h])[1y:1h])",
        "max_over_time(sum_over_time(max_over_time(m[1y:1m])[1y:1m])[1y:1m])",
        "max_over_time((m + on (i) m)[1y:10s])",
    ],
)
def test_subqueries_over_a_year_are_stopped_before_they_take_memory(text: str) -> None:
    query, one = Query.compile(text), store()
    tracemalloc.start()
    try:
        with pytest.raises(QueryError, match="too many samples"):
            query.evaluate(one, YEAR, samples=50_000)
        with pytest.raises(QueryError, match="too many samples"):
            query.range(one, YEAR, YEAR + 10, 10, samples=50_000)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_a_query_may_take_only_so_long() -> None:
    with pytest.raises(QueryError, match=r"timed out in query execution after 1e-07 s"):
        Query.compile("max_over_time(m[5m:1s])").evaluate(store(), 590, timeout=1e-7)
    timer = Timer()
    evaluation = Evaluation(SampleStore(), Dialect(), 0, 0, timeout=10, timer=timer)
    timer.seconds = 10
    evaluation.spend(1)
    timer.seconds = 10.1
    with pytest.raises(QueryError, match="timed out"):
        evaluation.spend(1)


def rows(answer: Answer) -> list[tuple[str, list[float], list[float]]]:
    return [(repr(labels), times.tolist(), values.tolist()) for labels, times, values in answer.matrix]


@pytest.mark.parametrize("portion", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    "text",
    ["m > 100", "rate(m[1m])", "1", "topk(1, m)", 'm{i="0"} < 200 or m{i="1"} > 300', "quantile(2, m)", "sort(m)"],
)
def test_in_portions_a_range_query_answers_the_same(text: str, portion: int) -> None:
    one, query = store(3), Query.compile(text)
    whole = query.range(one, 5, 595, 25)
    parts = RangeQuery(Query.compile(text), one, 5, 595, 25)
    turns = 1
    while parts.advance(portion):
        turns += 1
    assert turns == 24 // portion + 1
    assert rows(parts.answer()) == rows(whole)
    assert (parts.answer().warnings, parts.answer().infos) == (whole.warnings, whole.infos)
    assert bool(whole.warnings) == (text in {"quantile(2, m)", "sort(m)"})
    assert not parts.advance(1)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 11_001, 1), (0, 10, 0), (0, 10, -1), (0, 1, 1e-9)])
def test_a_range_query_has_at_most_11_000_steps(start: float, end: float, step: float) -> None:
    with pytest.raises(QueryError, match="maximum resolution"):
        RangeQuery(Query.compile("m"), SampleStore(), start, end, step)
    assert len(Query.compile("1").range(SampleStore(), 0, 11_000, 1).matrix[0][1]) == 11_001


_expressions = st.recursive(
    st.sampled_from(
        [
            "a",
            'b{x="1"}',
            "1",
            "time()",
            "NaN",
            "-Inf",
            "rate(a[1m])",
            "a offset 1m",
            "a @ 5",
            "a[2m]",
            "'s'",
            "a[1m:9s]",
        ]
    ),
    lambda inner: st.one_of(
        st.builds(
            "({}) {} ({})".format,
            inner,
            st.sampled_from(
                ["+", "/", "^", "%", "==", "> bool", "and", "or on (x)", "* on (x) group_left (y)", "atan2"]
            ),
            inner,
        ),
        st.builds(
            "{}({})".format,
            st.sampled_from(
                [
                    "sum",
                    "absent",
                    "abs",
                    "scalar",
                    "-",
                    "topk by (x) (1,",
                    "max",
                    "quantile(3,",
                    "count_values('a',",
                    "sort",
                ]
            ),
            inner,
        ),
        st.builds(
            "{}(({})[{}:{}])".format, st.sampled_from(["avg_over_time", "rate"]), inner, st.just("1m"), st.just("7s")
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(_expressions, st.text(max_size=40)), st.sampled_from([Dialect(), Dialect(compat=2), EXPERIMENTAL]))
def test_any_text_compiles_and_evaluates_or_is_a_query_error(text: str, dialect: Dialect) -> None:
    one = SampleStore()
    for time in (60.0, 80.0, 100.0):
        one.land("s", time, [(Labels({"__name__": name, "x": x}), math.nan) for name in "ab" for x in "12"])
    try:
        query = Query.compile(text, dialect)
        query.instant(one, 100.0)
        query.range(one, 90.0, 110.0, 10.0)
    except QueryError:
        return  # any other error fails the test
