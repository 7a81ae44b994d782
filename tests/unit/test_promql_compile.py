"""What is refused when an expression is compiled, and what is known of one that is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Query, QueryError, SampleStore


@pytest.mark.parametrize(
    ("text", "construct"),
    [
        ("foo @ 5", "@ modifier"),
        ("foo @ -5", "@ modifier"),  # reading the time of this one panics inside the parser
        ("foo @ start()", "@ modifier"),
        ("foo offset 5m", "offset"),
        ("rate(foo[5m] offset 1m)", "offset"),
        ("max_over_time(foo[5m:1m])", "subquery"),
        ("foo[5m:1m]", "subqueries"),
        ("foo[5m]", "range vector"),
        ('"text"', "string"),
        ("quantile(0.5, foo)", "quantile"),
        ("limitk(2, foo)", "limitk"),
        ("histogram_quantile(0.9, foo)", "histogram_quantile"),
        ("sort_by_label(foo, 'a')", "sort_by_label"),
        ('foo{a="1" or b="2"}', "or"),
        ("rate({__name__=~'a.*'}[5m])", "metric name"),
        ("label_replace(foo, 'a', 'b', 'c', '(?<=x)y')", "regular expression"),
        ("label_replace(foo, 'a', 'b', 'c', '(x)\\\\1')", "regular expression"),
        ("foo{a=~'x((?i)y)'}", "regular expression"),
        ("holt_winters(foo[5m], 0.1, 0.1)", "holt_winters"),
        ("foo(", "parse"),
        ("", "parse"),
        ("sum(1)", "parse"),
        ("foo == and bar", "parse"),
    ],
)
def test_refused_with_the_construct_named(text: str, construct: str) -> None:
    with pytest.raises(QueryError, match=construct):
        Query.compile(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "1" + "+1" * 20_000,
        "a" + " or a" * 20_000,
        "-1^" * 10_000 + "1",
        "sum(" * 3000 + "a" + ")" * 3000,
        "x" * 1_000_000 + "[",
    ],
)
def test_hostile_depth_is_an_error_and_not_the_end_of_the_process(text: str) -> None:
    with pytest.raises(QueryError):
        Query.compile(text)


def test_text_in_quotes_and_comments_is_no_depth() -> None:
    query = Query.compile('foo{a="' + "((((-+" * 5000 + '"} # ' + "(" * 5000)
    assert query.evaluate(SampleStore(), 0) == []


@pytest.mark.parametrize(
    ("text", "names", "windows", "instant"),
    [
        ("up == 0", {"up"}, {}, True),
        ("a and on (x) {__name__='b'} unless c", {"a", "b", "c"}, {}, True),
        ("time() + 1", set(), {}, True),
        ("rate(a[5m]) > rate(a[10m]) + b", {"a", "b"}, {"a": 600.0}, False),
        ("a + on () {x='y'}", None, {}, True),
    ],
)
def test_what_it_reads(text: str, names: set[str] | None, windows: dict[str, float], instant: bool) -> None:
    query = Query.compile(text)
    assert query.names == names
    assert query.windows == windows
    assert query.instant is instant


_expressions = st.recursive(
    st.sampled_from(["a", 'b{x="1"}', "1", "time()", "NaN", "-Inf", "rate(a[1m])"]),
    lambda inner: st.one_of(
        st.builds(
            "({}) {} ({})".format,
            inner,
            st.sampled_from(["+", "/", "^", "%", "==", "> bool", "and", "or on (x)"]),
            inner,
        ),
        st.builds(
            "{}({})".format, st.sampled_from(["sum", "absent", "abs", "scalar", "-", "topk by (x) (1,", "max"]), inner
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(_expressions, st.text(max_size=40)))
def test_any_text_compiles_and_evaluates_or_is_a_query_error(text: str) -> None:
    store = SampleStore()
    try:
        Query.compile(text).evaluate(store, 100.0)
    except QueryError:
        return  # any other error fails the test
