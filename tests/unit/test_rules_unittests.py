"""Unit tests of rules in promtool's format: notations, strict reading, and what comes of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rules import Dialect, Labels, RuleFileError
from rules.store import STALE
from rules.unittests import Outcome, describe_failure, run_file
from rules.unittests.notation import NotationError, expand, parse_series, parse_values
from rules.unittests.outcome import write_value
from rules.unittests.reading import read_suite

PROMETHEUS_3 = Dialect()
RULES = """\
groups:
  - name: late
    rules:
      - record: double
        expr: sum_of_m * 2
  - name: early
    rules:
      - record: sum_of_m
        expr: sum(m)
      - alert: High
        expr: m > 2
        for: 1m
        labels: {severity: page}
        annotations:
          summary: "{{ $labels.i }} is {{ $value }} in {{ $externalLabels.site }}, see {{ $externalURL }}"
"""
GOOD = """\
rule_files: [rules*.yml]
evaluation_interval: 1m
group_eval_order: [early, late]
tests:
  - name: it rises
    interval: 1m
    external_labels: {site: home}
    external_url: http://here
    input_series:
      - {series: 'm{i="a"}', values: 1+1x9}
      - {series: 'm{i="b"}', values: _ 7 stale}
    alert_rule_test:
      - {eval_time: 2m, alertname: High}
      - eval_time: 3m30s
        alertname: High
        exp_alerts:
          - exp_labels: {i: a, severity: page}
            exp_annotations: {summary: "a is 4 in home, see http://here"}
    promql_expr_test:
      - {expr: double, eval_time: 1m, exp_samples: [{labels: double, value: 18}]}
      - {expr: 'm{i="b"}', eval_time: 2m}
      - {expr: time(), eval_time: 90s, exp_samples: [{value: 90}]}
"""


def _run(folder: Path, text: str, rules: str = RULES) -> Outcome:
    (folder / "rules.yml").write_text(rules)
    (folder / "test.yml").write_text(text)
    return run_file(folder / "test.yml", PROMETHEUS_3)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1 2.5 -3", [1, 2.5, -3]),
        ("1+2x3 9", [1, 3, 5, 7, 9]),
        ("1-2x2", [1, -1, -3]),
        ("-2x2 0x0", [-2, -2, -2, 0]),
        ("_ 1 _x2 stale", [None, 1, None, None, STALE]),
        ("_x0", []),
        ("Inf -inf NaN", [math.inf, -math.inf, math.nan]),
        ("1e3 .5e1 5. 010 08", [1000, 5, 5, 8, 8]),
        ("0+0.1x3", [0, 0.1, 0.2, 0.30000000000000004]),
        ("", []),
    ],
)
def test_values_expand(text: str, values: list[float | None]) -> None:
    assert repr(list(expand(parse_values(text)))) == repr([None if one is None else float(one) for one in values])


def test_a_huge_series_costs_nothing_before_it_is_read() -> None:
    assert next(expand(parse_values("1x9999999999999999999"))) == 1


@pytest.mark.parametrize(
    "text",
    ["a", "1x", "x3", "1+1", "1x-1", "1x1.0", "stalex2", "NaNx2", "1,2", "1--1x2", "1e400", "0xF", "{{count:1}}"],
)
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(NotationError):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("m", {"__name__": "m"}),
        (" a:b { x = \"1\" , y='2', } ", {"__name__": "a:b", "x": "1", "y": "2"}),
        ('{__name__="m"}', {"__name__": "m"}),
        (r'm{x="a\"\n", y=`\n`}', {"__name__": "m", "x": 'a"\n', "y": r"\n"}),
        ('{"my metric", "a label"="b"}', {"__name__": "my metric", "a label": "b"}),
        ("m{x=''}", {"__name__": "m"}),
    ],
)
def test_series(text: str, labels: dict[str, str]) -> None:
    assert parse_series(text) is Labels(labels)


@pytest.mark.parametrize(
    "text",
    ["", "1m", "m{", "m{a}", "m{a=b}", "m{a!='b'}", "m{a='b' c='d'}", "m{a='b',a='c'}", "m n", "m{a:b='c'}", "m}"],
)
def test_what_is_no_series(text: str) -> None:
    with pytest.raises(NotationError):
        parse_series(text)


def test_a_good_file_passes(tmp_path: Path) -> None:
    outcome = _run(tmp_path, GOOD)
    assert (outcome.problems, outcome.failures, outcome.warnings) == ((), (), ())
    assert (outcome.tests, outcome.cases, outcome.passed) == (1, 5, True)


def test_what_is_not_as_expected_is_told_with_what_was_got(tmp_path: Path) -> None:
    outcome = _run(tmp_path, GOOD.replace("severity: page", "severity: mail").replace("value: 18", "value: 17"))
    assert not outcome.passed
    alert, expr = ("\n".join(describe_failure(outcome.file, failure)) for failure in outcome.failures)
    assert f"{tmp_path}/test.yml:14: name: it rises, alertname: High, time: 3m30s" in alert
    assert 'exp: Labels:{alertname="High", i="a", severity="mail"}\n' in alert
    assert 'got: Labels:{alertname="High", i="a", severity="page"}\n' in alert
    assert 'Annotations:{summary="a is 4 in home, see http://here"}' in alert
    assert 'test.yml:20: name: it rises, expr: "double", time: 1m' in expr
    assert expr.endswith('exp: {__name__="double"} 1.7E+01\n    got: {__name__="double"} 1.8E+01')


def test_an_alert_that_nobody_expects_fails(tmp_path: Path) -> None:
    outcome = _run(tmp_path, GOOD.replace("eval_time: 2m, alertname", "eval_time: 4m, alertname"))
    (failure,) = outcome.failures
    assert (failure.expected, len(failure.got)) == ((), 1)
    assert "    exp: nothing" in describe_failure("f", failure)


def test_a_rule_that_cannot_be_evaluated_ends_the_test(tmp_path: Path) -> None:
    outcome = _run(tmp_path, GOOD, RULES.replace("sum(m)", "m * on () group_left () m"))
    assert {(failure.kind, failure.subject, failure.time) for failure in outcome.failures} == {
        ("rule", "sum_of_m", 60.0)
    }
    assert outcome.failures[0].error


def test_samples_after_the_last_evaluation_have_not_landed(tmp_path: Path) -> None:
    outcome = _run(
        tmp_path,
        """
tests:
- interval: 10s
  input_series: [{series: m, values: 1+1x20}]
  promql_expr_test:
  - {expr: m, eval_time: 90s, exp_samples: [{labels: m, value: 7}]}
  - {expr: m offset -30s, eval_time: 0s, exp_samples: [{labels: m, value: 4}]}
""",
    )
    assert outcome.failures == ()


@pytest.mark.parametrize("start", ["1700000000", "2023-11-14T22:13:20Z", "'2023-11-14T23:13:20+01:00'"])
def test_the_start_may_be_any_time(tmp_path: Path, start: str) -> None:
    outcome = _run(
        tmp_path,
        f"""
tests:
- start_timestamp: {start}
  input_series: [{{series: m, values: 1 2}}]
  promql_expr_test:
  - {{expr: timestamp(m), eval_time: 1m, exp_samples: [{{labels: '{{}}', value: 1700000060}}]}}
""",
    )
    assert outcome.failures == ()


@pytest.mark.parametrize(("fuzzy", "passes"), [("true", True), ("no", False)])
def test_the_last_bit_may_be_ignored(tmp_path: Path, fuzzy: str, passes: bool) -> None:
    outcome = _run(
        tmp_path,
        f"""
fuzzy_compare: {fuzzy}
tests:
- promql_expr_test: [{{expr: 0.1 + 0.2, exp_samples: [{{value: 0.3}}]}}]
""",
    )
    assert outcome.passed is passes


def test_every_problem_of_the_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "test.yml").write_text("""\
evaluation_interval: 5
group_eval_order: [a, a]
test: []
tests:
  - interval: 1m
    input_series:
      - {series: 'm{', values: '1'}
      - {series: m, values: 1 x}
      - {series: n, values: "1\\n2", value: 3}
    alert_rule_test:
      - {eval_time: 1x}
    promql_expr_test:
      - expr: m
        exp_samples: [{labels: 'm{a}', value: '1'}, {histogram: '{{}}'}]
    start_timestamp: yesterday
""")
    with pytest.raises(RuleFileError) as caught:
        read_suite(tmp_path / "test.yml")
    found = {(problem.line, problem.message) for problem in caught.value.problems}
    expected = [
        (1, "not a valid duration string"), (2, "group name repeated"), (3, "did you mean tests?"),
        (7, "unexpected end"), (8, '"x" is no value'), (9, "field value not found"), (9, "line breaks"),
        (11, "not a valid duration string"), (11, "misses required attribute alertname"), (14, 'needs "="'),
        (14, "cannot unmarshal !!str `1` into float64"), (14, "native histograms"), (15, 'cannot parse "yesterday"'),
    ]  # fmt: skip
    missing = [(line, text) for line, text in expected if not any(line == at and text in said for at, said in found)]
    assert not missing, sorted(found)
    assert len(found) == len(expected)


def test_problems_of_rule_files_are_those_of_the_test(tmp_path: Path) -> None:
    outcome = _run(tmp_path, GOOD, RULES.replace("sum(m)", "sum(m"))
    assert [Path(problem.file).name for problem in outcome.problems] == ["rules.yml"]
    assert not outcome.passed


def test_a_pattern_without_files_is_only_a_warning(tmp_path: Path) -> None:
    outcome = _run(tmp_path, "rule_files: [none/*.yml]\ntests: [{}]\n")
    assert outcome.passed
    assert "none/*.yml" in outcome.warnings[0]


@pytest.mark.parametrize(
    "test",
    [
        "{interval: 1ms, input_series: [{series: m, values: 1x9999999}], promql_expr_test: [{expr: m, eval_time: 1d}]}",
        "{promql_expr_test: [{expr: m, eval_time: 100y}]}",
    ],
)
def test_what_would_take_too_long_is_refused(tmp_path: Path, test: str) -> None:
    (failure,) = _run(tmp_path, f"tests: [{test}]\n").failures
    assert "too much" in (failure.error or "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1E+00"), (0, "0E+00"), (0.0995, "9.95E-02"), (-1250, "-1.25E+03"), (0.1 + 0.2, "3.0000000000000004E-01"),
     (1e23, "1E+23"), (math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf")],
)  # fmt: skip
def test_values_are_written_as_promtool_does(value: float, text: str) -> None:
    assert write_value(float(value)) == text
