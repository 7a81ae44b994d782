"""Unit-test files judged by promtool and by us: both must say the same of the shipped ones, of spoilt ones, and of odd
notations.

Left out, as 2.42 knows less than Prometheus 3, whose format is ours: fuzzy_compare, start_timestamp, tests without
interval, native histograms, expected samples whose only labels are empty. And a line break after the values of a series
is an error with us, as promtool then reads no more series. Where no order of groups is given, promtool has none.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rules import Dialect
from rules.unittests import run_file

PROMTOOL = shutil.which("promtool")
RULES = Path(__file__).parents[2] / "rules"
SHIPPED = sorted((RULES / "tests").glob("*.yml"))
OLD = Dialect(compat=2)

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"),
]

Document = dict[str, Any]


def promtool_passes(files: list[Path]) -> dict[Path, bool]:
    """Promtool's verdict on each file."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "test", "rules", *map(str, files)], capture_output=True, text=True, check=False, timeout=300
    )
    verdicts = {}
    for block in done.stdout.split("Unit Testing:")[1:]:
        name, _, said = block.partition("\n")
        verdicts[Path(name.strip())] = "SUCCESS" in said
    assert verdicts.keys() == set(files), done.stderr
    return verdicts


def judged(files: list[Path]) -> tuple[list[str], list[bool]]:
    """The files on which we and promtool differ, and promtool's verdicts."""
    theirs = promtool_passes(files)
    differing = []
    for file, passes in theirs.items():
        outcome = run_file(file, OLD)
        if outcome.passed is not passes:
            said = [*map(str, outcome.problems), *map(str, outcome.failures)]
            differing.append(f"promtool says {passes}, we {said} of\n{file.read_text()}")
    return differing, list(theirs.values())


def test_promtool_passes_the_shipped_ones() -> None:
    """As ours does, in `test_rules_shipped`."""
    assert len(SHIPPED) >= 14
    assert promtool_passes(SHIPPED) == dict.fromkeys(SHIPPED, True)


def _cases(test: Document) -> list[Document]:
    cases: list[Document] = test.get("alert_rule_test", [])
    return cases


def _first_expecting(document: Document) -> Document:
    return next(case for test in document["tests"] for case in _cases(test) if case.get("exp_alerts"))


def wrong_label(document: Document) -> None:
    labels = _first_expecting(document)["exp_alerts"][0]["exp_labels"]
    labels[min(labels)] += "x"


def missing_label(document: Document) -> None:
    _first_expecting(document)["exp_alerts"][0]["exp_labels"].popitem()


def empty_label(document: Document) -> None:
    _first_expecting(document)["exp_alerts"][0]["exp_labels"]["more"] = ""


def wrong_annotation(document: Document) -> None:
    _first_expecting(document)["exp_alerts"][0]["exp_annotations"]["summary"] += "."


def missing_alert(document: Document) -> None:
    _first_expecting(document)["exp_alerts"].pop()


def extra_alert(document: Document) -> None:
    alerts = _first_expecting(document)["exp_alerts"]
    alerts.append(copy.deepcopy(alerts[0]))


def wrong_name(document: Document) -> None:
    _first_expecting(document)["alertname"] += "X"


def at_the_start(document: Document) -> None:
    _first_expecting(document)["eval_time"] = "0s"


def a_little_later(document: Document) -> None:
    case = _first_expecting(document)
    case["eval_time"] = f"{case['eval_time']}59s" if str(case["eval_time"]).endswith("m") else case["eval_time"]


def a_day_later(document: Document) -> None:
    _first_expecting(document)["eval_time"] = "1d"


def other_samples(document: Document) -> None:
    for test in document["tests"]:
        for series in test["input_series"]:
            series["values"] = f"_ {series['values']}"


def other_interval(document: Document) -> None:
    document["evaluation_interval"] = "7m"


def unknown_field(document: Document) -> None:
    _first_expecting(document)["exp_alert"] = []


def unknown_rules(document: Document) -> None:
    document["rule_files"] = ["nothing/*.yml"]


SPOILERS: list[Callable[[Document], None]] = [
    wrong_label,
    missing_label,
    empty_label,
    wrong_annotation,
    missing_alert,
    extra_alert,
    wrong_name,
    at_the_start,
    a_little_later,
    a_day_later,
    other_samples,
    other_interval,
    unknown_field,
    unknown_rules,
]


def test_spoilt_ones_fail_alike(tmp_path: Path) -> None:
    files = []
    for place, spoil in enumerate(SPOILERS):
        for path in (SHIPPED[place % len(SHIPPED)], SHIPPED[(place + 5) % len(SHIPPED)]):
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            document["rule_files"] = [str((path.parent / name).resolve()) for name in document["rule_files"]]
            expecting = (test for test in document["tests"] if any(case.get("exp_alerts") for case in _cases(test)))
            document["tests"] = [next(expecting)]
            spoil(document)
            files.append(tmp_path / f"{spoil.__name__}_{path.name}")
            files[-1].write_text(yaml.safe_dump(document, width=10_000))
    differing, verdicts = judged(files)
    assert differing == []
    assert verdicts.count(False) >= 2 * 9  # of some spoilers the tests may take no notice


SERIES = [
    "m",
    "m{a='b'}",
    'm{ a = "b", }',
    "{__name__='m'}",
    "m{a=`b`}",
    "m{a='\\n'}",
    "sum{by='x'}",
    "m{}",
    "",
    "m{",
    "m{a}",
    "m{a=b}",
    "m{a!='b'}",
    "m{a='b'",
    "m{a='b',a='c'}",
    "1m",
    "m n",
    "m{a-b='c'}",
    "m{a=''}",
]
VALUES = [
    "1",
    "1 2 3",
    "  1   2  ",
    "1+1x3",
    "1-1x3",
    "1x3",
    "-2+4x3",
    "_",
    "_x3 5",
    "1 _x2 stale 4",
    "NaN",
    "Inf -Inf +Inf",
    "1e3 1E-3",
    ".5 5. -.5",
    "0x10",
    "010 08",
    "1x0",
    "1+0.1x9",
    "1.5-.5x3",
    "",
    "1e400",
    "1+1",
    "x3",
    "1x",
    "1x-3",
    "1x1.0",
    "1 + 1x3",
    "stalex3",
    "NaNx3",
    "Stale",
    "a",
    "1,2",
    "_ _x0 _",
    "__",
    "_1",
    "1--1x3",
    "--1",
    "1_0",
    "9223372036854775807 9223372036854775808",
    "1\n2",
    "1 # x",
    "\t1\t2",
    "inf nan",
]
SAMPLES = [
    "[]",
    "[{value: 4}]",
    "[{labels: '{}', value: 4}]",
    "[{labels: '{}', value: 4.0}]",
    "[{labels: '', value: 4}]",
    "[{labels: '{}', value: '4'}]",
    "[{labels: '{}', value: 0x4}]",
    "[{labels: '{}', value: 4e0}]",
    "[null]",
    "[{labels: 'm', value: 4}]",
    "[{labels: '{a}', value: 4}]",
    "[4]",
    "null",
    "[{value: 4}, {value: 4}]",
    "[{value: .nan}]",
    "[{value: NaN}]",
    "[{value: true}]",
    "[{value: 4, x: 1}]",
]
EXPRESSIONS = [
    "count(m)",
    "1 + 3",
    "'4'",
    "m[5m]",
    "m ==",
    "",
    "sum_over_time(m[5m])",
    "m offset -1m",
    "r",
    "nothing",
    "ALERTS{alertname='A'}",
    "ALERTS_FOR_STATE",
    "time()",
    "count_over_time(m[3m:])",
    "sum by (a) (m)",
]
TIMES = ["0", "0s", "1m", "90s", "5", "", "-1m", "1.5m", "7m"]
TOPS = [
    "evaluation_interval: 30s",
    "evaluation_interval: 0s",
    "evaluation_interval: 3m",
    "evaluation_interval: x",
    "foo: 1",
    "group_eval_order: [h, g]",
    "group_eval_order: [g, g]",
    "group_eval_order: [none]",
    "group_eval_order: g",
    "evaluation_interval: 1m\nevaluation_interval: 1m",
]
OTHERS = [
    "",
    "tests:\n",
    "tests: [{}]\n",
    "tests: [null]\n",
    "[]\n",
    "tests: {}\n",
    "rule_files: rules.yml\ntests: [{}]\n",
    "rule_files: [bad.yml]\ntests: [{interval: 1m}]\n",
    "rule_files: [bad.yml]\n",
    "rule_files: ['a[']\n",
    "tests: [",
    "rule_files: [failing.yml]\ntests: [{interval: 1m}]\n",
    "rule_files: [rules.yml, rules.yml]\ntests: [{}]\n",
    "tests: [{alert_rule_test: [{eval_time: 1m}]}]\n",
    "tests: []\n---\nfoo: 1\n",
]
FILES = {
    "rules.yml": "groups: [{name: g, rules: [{alert: A, expr: m > 2, for: 1m}, {record: r, expr: h * 2}]},"
    " {name: h, rules: [{record: h, expr: m + 1}]}]",
    "bad.yml": "groups: [{name: g, rules: [{alert: A, expr: m >}]}]",
    "failing.yml": "groups: [{name: g, rules: [{record: a, expr: 'm[5m]'}]}]",
}


def _test(
    *,
    series: str = "m",
    values: str = "1+1x9",
    expr: str = "count(m)",
    time: str = "3m",
    samples: str = "[{value: 4}]",
    top: str = "",
) -> str:
    inputs = json.dumps([{"series": series, "values": values}, {"series": "other", "values": "1x9"}])
    return (
        f"rule_files: [rules.yml]\n{top}\ntests:\n- interval: 1m\n  input_series: {inputs}\n  promql_expr_test:\n"
        f"  - expr: {json.dumps(expr)}\n    eval_time: {time}\n    exp_samples: {samples}\n"
    )


def _odd_tests() -> Iterator[str]:
    yield from (_test(series=one, expr=f"count({name})", samples="[{value: 1}]") for one in SERIES for name in "ms")
    for values in VALUES:
        yield _test(values=values, expr="count_over_time(m[1h])", time="9m", samples="[{value: 4}]")
        yield _test(values=values, expr="sum_over_time(m[1h]) > 3 < 20", time="9m", samples="[]")
    yield from (_test(expr="1 + 3", samples=samples) for samples in SAMPLES)
    yield from (_test(expr=expr, samples=samples) for expr in EXPRESSIONS for samples in ("[]", "[{value: 4}]"))
    yield from (_test(expr="m", time=time, samples="[{labels: m, value: 2}]") for time in TIMES)
    yield from (_test(expr="h", top=top, samples="[{labels: h, value: 5}]") for top in TOPS)
    for order in ("[h, g]", "[g, h]"):
        yield _test(expr="r", top=f"group_eval_order: {order}", samples="[{labels: r, value: 10}]")
    yield from OTHERS


def test_odd_notations_are_judged_alike(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    files = []
    for place, text in enumerate(_odd_tests()):
        files.append(tmp_path / f"test{place}.yml")
        files[-1].write_text(text)
    differing, verdicts = judged(files)
    assert differing == []
    assert 0.1 < sum(verdicts) / len(verdicts) < 0.9
