"""The door to the parser: what it is told instead of what stands there, and what it is not told at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Dialect, Labels, Query, QueryError, SampleStore
from rules.promql.parse import parse

STORE = SampleStore(floor=1e9)
for second in range(-60, 61, 10):
    STORE.land(
        "s", second, [(Labels({"__name__": "m"}), float(second)), (Labels({"__name__": "m_1_2", "é": "x_1_0"}), 7.0)]
    )


def scalar(text: str, at: float = 0.0) -> float:
    return Query.compile(text).instant(STORE, at).scalar


def value(text: str, at: float = 60.0) -> float | None:
    found = Query.compile(text).evaluate(STORE, at)
    assert len(found) < 2
    return found[0][1] if found else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1_000", 1000),
        ("1_000_000.5", 1_000_000.5),
        ("1_0 + 2_0", 30),
        ("-1_0", -10),
        ("1e3", 1000),
        ("0x1F", 31),
        (".5", 0.5),
        ("1.", 1),
    ],
)
def test_numbers(text: str, expected: float) -> None:
    assert scalar(text) == expected


def test_digits_in_names_and_texts_are_no_numbers() -> None:
    assert value("m_1_2") == 7
    assert value('{__name__="m_1_2"}') == 7
    assert value('m_1_2{"é"="x_1_0"}') == 7
    assert Query.compile('label_replace(m, "a_1_0", "1_0", "", "")').evaluate(STORE, 0) == [
        (Labels({"__name__": "m", "a_1_0": "1_0"}), 0.0)
    ]


@pytest.mark.parametrize("text", ["1__0", "1_", "_1 + 1_", "0x_", "1_a"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(QueryError):
        Query.compile(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m @ 0", 0),
        ("m @ -5", -10),
        ("m @ - 5", -10),
        ("m @ +5", 0),
        ("m @-20.5", -30),
        ("m @ 1e1", 10),
        ("m @ 2_0", 20),
        ("m @ 0x1e", 30),
        ("m @ 10.0006", 10),
        ("m @ 9.9999", 10),  # milliseconds
        ("m @ 9.9994", 0),
        ("m @ start()", 60),
        ("m @ end()", 60),
        ("m @ 40 offset 20s", 20),
        ("m offset 20s @ 40", 20),
        ("m offset -10s @ -20", -10),
        ("m @ 10 + m @ 20", 30),  # each has its own
        ("sum_over_time(m[20s] @ 20)", 30),
        ("sum_over_time((m @ -5)[20s:10s])", -20),
        ("sum_over_time(m[20s:10s] @ -30)", -70),
        ("m @ -1e9", None),
    ],
)
def test_times_after_at(text: str, expected: float | None) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    ["m @ 1e30", "m @ -1e30", "m @ 0x" + "f" * 300, "m @ NaN", "m @ Inf", "m @ foo", "m @", "m @ 1 @ 2", "(m) @ 1"],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(QueryError):
        Query.compile(text)


@pytest.mark.parametrize("zero", ["0s", "0", "-0s", "0ms", "0w", "+0s", "00m", " 0d "])
def test_an_offset_of_nothing(zero: str) -> None:
    assert value(f"m offset {zero}") == 60
    assert value(f"sum_over_time(m[20s] offset {zero})") == 110
    assert value(f"m OFFSET {zero} + m offset 10s") == 110


def test_offset_is_no_keyword_in_texts() -> None:
    found = Query.compile('label_replace(m, "a", "x offset 0s @ -5 1_0", "", "")').evaluate(STORE, 0)
    assert found[0][0]["a"] == "x offset 0s @ -5 1_0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\xc3\xa9"', "é"),
        (r"'\xE2\x82\xAC!'", "€!"),
        (r'"\x41\xc3\xa9"', "Aé"),
        (r'"\\xc3\\xa9"', r"\xc3\xa9"),  # escaped backslashes
        (r'"\\\xc3\xa9"', "\\é"),
        (r'"é\u00e9\U000000e9"', "ééé"),
        (r'"\u00e9\n\t\""', 'é\n\t"'),
        (r"`\xc3\xa9`", r"\xc3\xa9"),  # raw
        ('"# no comment" # a comment "', "# no comment"),
    ],
)
def test_strings(text: str, expected: str) -> None:
    assert Query.compile(text).instant(STORE, 0).string == expected


@pytest.mark.parametrize("text", [r'"\xff"', r'"\xc3"', r'"\xc3\x28"', r'm{a="\xed\xa0\x80"}'])
def test_escaped_bytes_that_are_no_utf_8_are_refused(text: str) -> None:
    with pytest.raises(QueryError, match="not valid UTF-8"):
        Query.compile(text)


def test_a_function_has_its_name_of_prometheus_2_there_only() -> None:
    for text in ("holt_winters(m[1m], 0.5, 0.5)", "holt_winters (m[1m], 0.5, 0.5)"):
        assert Query.compile(text, Dialect(compat=2)).evaluate(STORE, 60)
        with pytest.raises(QueryError):
            Query.compile(text, Dialect(compat=3, experimental=True))
    assert Query.compile("holt_winters", Dialect(compat=2)).names == frozenset({"holt_winters"})  # a metric
    assert Query.compile("holt_winters{a='b'}").names == frozenset({"holt_winters"})


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        "(" * 10_000,
        "1" + "+1" * 10_000,
        "a" + " or a" * 10_000,
        "a" + " AND a" * 10_000,
        "-" * 10_000 + "1",
        "1" + "^1" * 10_000,
        "-1^" * 10_000 + "1",
        "sum(" * 10_000 + "a" + ")" * 10_000,
        "a" + "[1m:1m]" * 10_000,
        "a{" * 10_000,
        "1" + "==bool 1" * 10_000,
        "a" + " atan2 a" * 10_000,
        "a" + "\nunless\na" * 10_000,
        "!" * 10_000,
    ],
    ids=range(15),
)
def test_hostile_depth_is_an_error_and_not_the_end_of_the_process(text: str) -> None:
    with pytest.raises(QueryError):
        parse(text)


def test_the_text_may_not_be_too_long() -> None:
    with pytest.raises(QueryError, match="1,000,001 characters"):
        parse("x" * 1_000_001)
    assert parse("x" * 1_000_000)
    assert parse('a{b="' + "((((-+" * 150_000 + '"}')  # in quotes nothing nests
    assert parse("a # " + "(" * 900_000)
    assert parse("a{b=~'" + "x|" * 100_000 + "'}")


@pytest.mark.parametrize(
    "text",
    [
        "m @" + " " * 400_000 + "x",
        "m @ " + "1" * 400_000 + "x",
        "m offset" + " " * 400_000 + "x",
        "m offset " + "0" * 400_000 + "x",
        '"' + '\\"' * 200_000,
        "'" + "\\'" * 200_000,
        "1_" * 200_000 + "x",
        '"' + "\\xc3" * 100_000 + '"',
        'a{b="' + "(" * 400_000,
    ],
    ids=range(9),
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    """Were it quadratic, each of these would take hours."""
    with pytest.raises(QueryError):
        parse(text)


def test_as_many_operators_as_are_read() -> None:
    assert scalar("1" + "+1" * 380) == 381
    with pytest.raises(QueryError, match="801 operators"):
        parse("1" + "+1" * 801)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(
                [
                    *"()[]{}@#\"'`\\,+-*/^=!~<>_: \n",
                    "m",
                    "offset",
                    "0s",
                    "-5",
                    "1_0",
                    "by",
                    "or",
                    "sum",
                    "5m",
                    "é",
                    r"\xc3",
                ]
            ),
            max_size=15,
        ).map("".join),
    )
)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except QueryError:
        return  # any other error fails the test
