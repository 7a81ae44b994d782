"""The language of Prometheus's query tests: how it is read, and that wrong expectations are noticed."""

from __future__ import annotations

import math
import textwrap

import pytest

from tests.promqltest.comparison import almost_equal
from tests.promqltest.notation import duration, number, unquote
from tests.promqltest.pinned import pin
from tests.promqltest.run import Outcome, counts, run
from tests.promqltest.scope import NATIVE, STARTED, experimental
from tests.promqltest.script import Clear, Eval, Load, ScriptError, parse
from tests.promqltest.series import Mark, metric, series, values


def script(text: str) -> str:
    return textwrap.dedent(text).strip()


def only(text: str) -> Outcome:
    (outcome,) = run(script(text))
    return outcome


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m30s", 330.0), ("600", 600.0), ("-10s", -10.0), ("0", 0.0), ("1m500ms", 60.5), ("1w", 604800.0), ("1.5", 1.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["5x", "", "m", "5m 3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="float"):
        duration(text)


def test_numbers() -> None:
    assert [number(text) for text in ("0x1F", "1_000", "1e-3", "-Inf", "+7", "0x1p-2")] == [
        31.0, 1000.0, 0.001, -math.inf, 7.0, 0.25,
    ]  # fmt: skip
    assert math.isnan(number("NaN"))


def test_quoted_strings() -> None:
    assert unquote(r'"a\"b\n\x41\u00e9"') == 'a"b\nAé'
    assert unquote(r"'it\'s'") == "it's"
    assert unquote(r"`a\nb`") == r"a\nb"
    for wrong in ('"a', "a", '"a"b"', r'"\q"'):
        with pytest.raises(ValueError, match=r"quote|escape"):
            unquote(wrong)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("1+2x3", (1.0, 3.0, 5.0, 7.0)),
        ("1-2x3", (1.0, -1.0, -3.0, -5.0)),
        ("-2+4x1 5", (-2.0, 2.0, 5.0)),
        ("5x3", (5.0, 5.0, 5.0, 5.0)),
        ("1 _ 2", (1.0, Mark.MISSING, 2.0)),
        ("_x3 1", (Mark.MISSING, Mark.MISSING, Mark.MISSING, 1.0)),
        ("stale 1e3 -.5", (Mark.STALE, 1000.0, -0.5)),
        ("Inf -Inf +Inf", (math.inf, -math.inf, math.inf)),
        ("0x2", (0.0, 0.0, 0.0)),  # repetition, not a hexadecimal number
        ("1_000x1", (1000.0, 1000.0)),
        ("{{count:1 sum:2}}x2 3", (Mark.NATIVE, Mark.NATIVE, Mark.NATIVE, 3.0)),
        ("{{}}+{{count:1 buckets:[1 2]}}x1", (Mark.NATIVE, Mark.NATIVE)),
        ("", ()),
    ],
)
def test_values(text: str, expanded: tuple[object, ...]) -> None:
    assert values(text) == expanded


def test_a_step_is_summed_not_multiplied() -> None:
    assert values("0+0.1x3")[-1] == 0.1 + 0.1 + 0.1


@pytest.mark.parametrize("text", ["1+x3", "abc", "1,2", "{{count:1", "1x"])
def test_no_values(text: str) -> None:
    with pytest.raises(ValueError, match="value"):
        values(text)


@pytest.mark.parametrize(
    ("text", "labels", "rest"),
    [
        ("up 1 2", {"__name__": "up"}, "1 2"),
        ('up{a="b",} 1', {"__name__": "up", "a": "b"}, " 1"),
        ('up {a="b c"} 1', {"__name__": "up", "a": "b c"}, " 1"),
        ("{} 1", {}, " 1"),
        ('{"a.b", "c d"="e", f=\'"\'} 1', {"__name__": "a.b", "c d": "e", "f": '"'}, " 1"),
        ('{__name__="x", empty=""}', {"__name__": "x"}, ""),
        ('up{a="}{"}\t{{count:1}}', {"__name__": "up", "a": "}{"}, "\t{{count:1}}"),
    ],
)
def test_metrics(text: str, labels: dict[str, str], rest: str) -> None:
    assert metric(text) == (tuple(sorted(labels.items())), rest)


@pytest.mark.parametrize("text", ["{a=b} 1", '{a="b" c="d"} 1', "1 2", '{"a', "{a="])
def test_no_metrics(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |neither"):
        series(text)


def test_a_script() -> None:
    load, instant, ranged, clear = parse(
        script(
            """
            # a comment
            load 5m
              a{b="c"} 1+1x2
              # a comment ends the block as an empty line does

            eval instant at 10m a
              expect warn msg: something
              expect no_info
              a{b="c"} 3
            eval_warn range from 0 to 10m step 5m a
            clear
            """
        )
        .replace('a{b="c"} 3\n', 'a{b="c"} 3\n\n')
        .replace("step 5m a\n", "step 5m a\n\n")
    )
    assert isinstance(load, Load)
    assert (load.line, load.step, load.nhcb) == (2, 300.0, False)
    assert isinstance(instant, Eval)
    assert (instant.expr, instant.end, instant.expects("warn")[0].message) == ("a", 600.0, "something")
    assert instant.expected == {(("__name__", "a"), ("b", "c")): (3.0,)}
    assert isinstance(ranged, Eval)
    assert (ranged.start, ranged.end, ranged.step) == (0.0, 600.0, 300.0)
    assert ranged.expects("warn")
    assert isinstance(clear, Clear)


def test_old_and_new_ways_to_expect_a_failure() -> None:
    old, pattern, new = parse(
        "eval_fail instant at 0 a\n  expected_fail_message no such thing\n"
        "eval_fail instant at 0 a\n  expected_fail_regexp no .* thing\n"
        "eval instant at 0 a\n  expect fail msg:no such thing\n"
    )
    assert isinstance(old, Eval)
    assert isinstance(new, Eval)
    assert old.expectations == new.expectations
    assert isinstance(pattern, Eval)
    assert pattern.expectations[0].pattern is not None


def test_strings_ranges_and_scalars_are_expected() -> None:
    text, matrix, scalar = parse(
        'eval instant at 0 "x"\n  expect string `x`\n\n'
        "eval instant at 1m a[1m]\n  expect range vector from 10s to 1m step 10s\n  a 1 2 3\n\n"
        "eval instant at 0 1\n  0x10\n"
    )
    assert isinstance(text, Eval)
    assert text.string == "x"
    assert isinstance(matrix, Eval)
    assert (matrix.start, matrix.end, matrix.step, matrix.is_range) == (10.0, 60.0, 10.0, False)
    assert isinstance(scalar, Eval)
    assert scalar.scalar == 16.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("evaluate this", "expected: eval"),
        ("restart", "unknown command"),
        ("load", "load"),
        ("load 5q\n  a 1", "line 1"),
        ("eval instant at 0 a\n  a 1 2", "line 2: an instant query"),
        ("eval range from 1m to 0 step 1m a", "ends before"),
        ("eval instant at 0 a\n  expect panic", "unknown expectation"),
        ("eval instant at 0 a\n  expect warn\n  expect no_warn", "together"),
        ("eval instant at 0 a\n  expect fail\n  expect fail", "only one"),
        ("eval instant at 0 a\n  expect warn regex: (", "pattern"),
        ("eval instant at 0 a\n  expect range vector from 0 to 1", "range vector"),
    ],
)
def test_scripts_that_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ScriptError, match=problem):
        parse(text)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1.0, 1.0000005, True),
        (1.0, 1.00001, False),
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 1e308, False),
        (0.0, 1e-9, False),
        (0.0, -0.0, True),
    ],
)
def test_almost_equal(one: float, other: float, equal: bool) -> None:
    assert almost_equal(one, other) is almost_equal(other, one) is equal


@pytest.mark.parametrize(
    ("expr", "named"),
    [
        ("rate(foo[5m])", []),
        ("foo @ start() + bar @ end()", []),
        ("foo[5m:1m] offset -1m", []),
        ('{job="info(x)"} - step', []),
        ("limitk(2, x)", ["limitk"]),
        ("limitk by (a) (2, x)", ["limitk"]),
        ("first_over_time(x[1m]) + mad_over_time(x[1m])", ["first_over_time", "mad_over_time"]),
        ("rate(x[5m] smoothed)", ["smoothed"]),
        ('smoothed{a="b"}', []),
        ("rate(x[5m+1m])", ["duration expressions"]),
        ("rate(x[step()])", ["step"]),
        ("x offset (1m*2)", ["duration expressions"]),
        ("a + fill(0) b", ["fill"]),
    ],
)
def test_experimental_language_is_named(expr: str, named: list[str]) -> None:
    assert experimental(expr) == named


@pytest.mark.parametrize(
    ("expr", "pinned"),
    [
        ('rate(a{b="c"}[5m] offset 1m)', 'rate(a{b="c"}[300000ms] @ 60.000 offset 60000ms)'),
        ("max_over_time(a[5m:1m])", "max_over_time(a{}[300000ms:60000ms] @ 60.000)"),
        ("a @ 10 - on(b) group_left(c) d", "a{} @ 10.000 - on(b) group_left(c) d{} @ 60.000"),
        ("topk by (a) (2, b)", "topk by (a) (2.0, b{} @ 60.000)"),
        ("a > bool -b", "a{} @ 60.000 > bool -b{} @ 60.000"),
        ("time() - a", None),
        ("a @ -5", None),
        (r'label_join(a, "\xff", "")', None),
    ],
)
def test_an_expression_is_pinned_to_a_time(expr: str, pinned: str | None) -> None:
    assert pin(expr, 60.0) == pinned


DATA = """
    load 1m
      a{b="x"} 1 2 3
      a{b="y"} 4 5 6
      h {{count:1 sum:1}}x2
      s@st -1mx2
      s 1 2 3
"""


@pytest.mark.parametrize(
    "asked",
    [
        'eval instant at 2m a\n  a{b="y"} 6\n  a{b="x"} 3',
        'eval instant at 2m sort_desc(a)\n  expect ordered\n  a{b="y"} 6\n  a{b="x"} 3',
        "eval instant at 2m sum(a)\n  {} 9",
        "eval instant at 2m scalar(sum(a))\n  9",
        'eval range from 0 to 3m step 1m a{b="x"}\n  a{b="x"} 1 2 3 3',
        'eval instant at 2m a{b="x"}[2m]\n  expect range vector from 1m to 2m step 1m\n  a{b="x"} 2 3',
        'eval instant at 2m "text"\n  expect string "text"',
        "eval instant at 2m a + on() a\n  expect fail",
        "eval instant at 2m quantile(2, a)\n  expect warn\n  {} Inf",
    ],
)
def test_right_expectations_pass(asked: str) -> None:
    assert only(script(DATA) + "\n\n" + asked).state == "passed"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ('eval instant at 2m a\n  a{b="y"} 7\n  a{b="x"} 3', "expected 7.0, got 6.0"),
        ('eval instant at 2m a\n  a{b="y"} 6', "unexpected"),
        ('eval instant at 2m a\n  a{b="y"} 6\n  a{b="x"} 3\n  a 1', "missing"),
        ('eval instant at 2m a{b="x"}\n  {b="x"} 3', "missing"),
        ('eval instant at 2m sort(a)\n  expect ordered\n  a{b="y"} 6\n  a{b="x"} 3', "at position 1"),
        ("eval instant at 2m scalar(sum(a))\n  8", "expected scalar 8.0"),
        ("eval instant at 2m scalar(sum(a))\n  {} 9", "got scalar"),
        ("eval instant at 2m sum(a)\n  9", "got a vector"),
        ('eval range from 0 to 3m step 1m a{b="x"}\n  a{b="x"} 1 2 3 _', "3.0@180"),
        ('eval range from 0 to 2m step 1m a{b="x"}\n  a{b="x"} 1 2 3 4', "more values"),
        ('eval instant at 2m a{b="x"}[2m]\n  expect range vector from 0 to 1m step 1m\n  a{b="x"} 2 3', "2.0@60"),
        ('eval instant at 2m "text"\n  expect string "other"', "expected string"),
        ('eval instant at 2m a{b="x"}\n  expect fail\n  a{b="x"} 3', "expected an error"),
        ("eval instant at 2m a + on() a", "error: "),
        ("eval instant at 2m a + on() a\n  expect fail msg: another", "expected the error another"),
        ("eval instant at 2m sum(a)\n  expect warn\n  {} 9", "expected warn any message"),
        ("eval instant at 2m quantile(2, a)\n  expect no_warn\n  {} Inf", "expected no warn"),
        ("eval instant at 2m quantile(2, a)\n  expect warn msg: another\n  {} Inf", "expected warn"),
        ("eval instant at 2m this is not promql", "error: "),
    ],
)
def test_wrong_expectations_fail(asked: str, why: str) -> None:
    outcome = only(script(DATA) + "\n\n" + asked)
    assert outcome.state == "failed"
    assert why in outcome.why


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("eval instant at 2m h\n  h 1", NATIVE),
        ('eval instant at 2m count({__name__=~".+"})\n  {} 1', NATIVE),
        ("eval instant at 2m vector(1)\n  {} {{count:1}}", NATIVE),
        ("eval instant at 2m rate(s[2m])\n  {} 1", STARTED),
        ("eval instant at 2m rate(a[2m] smoothed)\n  {} 1", "experimental: smoothed"),
    ],
)
def test_what_cannot_be_judged_is_skipped_with_its_reason(asked: str, why: str) -> None:
    outcome = only(script(DATA) + "\n\n" + asked)
    assert (outcome.state, outcome.why) == ("skipped", why)


def test_histograms_made_of_classic_ones_are_native() -> None:
    loaded = 'load_with_nhcb 1m\n  h_bucket{le="1"} 1\n  h_count 1\n\n'
    assert only(loaded + "eval instant at 0 h_count\n  h_count 1").state == "passed"
    assert only(loaded + "eval instant at 0 histogram_sum(h)\n  {} 1").why == NATIVE


def test_clear_forgets_and_loads_add_up() -> None:
    outcomes = run(
        script(
            """
            load 1m
              a 1

            load 1m
              a _ 2
              b 3

            eval instant at 1m sum(count_over_time(a[5m]) + b)
              {} 5

            clear

            eval instant at 1m a or b
            """
        )
    )
    assert counts(outcomes)["passed"] == 2, outcomes
