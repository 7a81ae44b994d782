"""Prometheus's own promtool as the judge: of the shipped rules, of our loader, and of our evaluator on random data."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rules import Labels, Query, QueryError, RuleFileError, SampleStore, parse_text

PROMTOOL = shutil.which("promtool")
RULES = Path(__file__).parents[2] / "rules"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"),
]


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def test_shipped_rules_are_good() -> None:
    files = sorted(RULES.glob("*.yml"))
    assert len(files) >= 9
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *files)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", sorted((RULES / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_shipped_rules_pass_their_unit_tests(path: Path) -> None:
    result = promtool("test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    """The judge can say no."""
    document = yaml.safe_load((RULES / "tests" / "disks.yml").read_text())
    document["rule_files"] = [str(RULES / "disks.yml")]
    document["tests"][0]["alert_rule_test"] = [{"eval_time": "1m", "alertname": "DiskSpaceLow"}]
    (tmp_path / "wrong.yml").write_text(yaml.safe_dump(document))
    assert promtool("test", "rules", tmp_path / "wrong.yml").returncode != 0


@pytest.mark.parametrize(
    "rule",
    [
        {"alert": "A", "expr": "up == 0", "for": "1h30m", "keep_firing_for": "0s", "labels": {"a": "{{ $value }}"}},
        {"alert": "A", "expr": "1"},
        {"record": "a:b", "expr": "sum(up)", "labels": {"x": "y"}},
        {"record": "a", "alert": "A", "expr": "up"},
        {"expr": "up"},
        {"alert": "A"},
        {"alert": "A", "expr": "up =="},
        {"alert": "A", "expr": "sum(up) by"},
        {"alert": "A", "expr": "rate(up)"},
        {"alert": "A", "expr": "foo(up)"},
        {"alert": "A", "expr": "up", "for": "5"},
        {"alert": "A", "expr": "up", "for": "1m1h"},
        {"alert": "A", "expr": "up", "for": "-5m"},
        {"alert": "A", "expr": "up", "fore": "5m"},
        {"alert": "A", "expr": "up", "labels": {"__name__": "x"}},
        {"alert": "A", "expr": "up", "labels": {"a-b": "x"}},
        {"alert": "A", "expr": "up", "annotations": {"a b": "x"}},
        {"alert": "A", "expr": "up", "annotations": {"a": "{{ $value "}},
        {"alert": "A", "expr": "up", "annotations": {"a": "{{ $value | nothing }}"}},
        {"record": "a-b", "expr": "up"},
        {"record": "a", "expr": "up", "for": "1m"},
        {"record": "a", "expr": "up", "annotations": {"x": "y"}},
        {"record": "a", "expr": "up", "labels": {"__name__": "y"}},
    ],
    ids=str,
)
def test_our_loader_agrees(tmp_path: Path, rule: dict[str, object]) -> None:
    text = yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]})
    (tmp_path / "rules.yml").write_text(text)
    accepted = promtool("check", "rules", tmp_path / "rules.yml").returncode == 0
    try:
        parse_text(text, "rules.yml")
        ours = True
    except RuleFileError:
        ours = False
    assert ours is accepted


# constructs in which Prometheus 2.42 and 3 agree; % and ^ and topk's ties are left to the unit tests
_VECTORS = ["a", "b", 'a{x="1"}', 'a{y=~"p|q",x!="2"}', "one", "a > 2", "-a", "abs(a)", "absent(none{x='1'})",
            "sum by (x) (a)", "max without (x) (a)", "count by (y) (a > 0)", "min(a)", "topk by (y) (1, b)",
            "clamp_min(a, 1)", "round(b, 0.5)", "timestamp(a)", "vector(time())",
            "label_replace(a, 'z', '$1', 'x', '(.)')"]  # fmt: skip
_OPERATORS = ["+", "-", "*", "/", "==", "!=", ">", "<=", "> bool", "== bool", "and", "or", "unless", "and on (x)",
              "unless on (y)", "or on (x)", "and ignoring (x)", "* on (x) group_left ()", "- on (x, y)",
              "/ on (x) group_left (w)", "> on (x) group_right ()", "+ ignoring (y) group_left ()"]  # fmt: skip
_SCALARS = ["2", "0", "scalar(one)", "time()", "NaN"]


def _expressions(rng: random.Random) -> list[str]:
    vectors = [f"({rng.choice(_VECTORS)}) {rng.choice(_OPERATORS)} ({rng.choice(_VECTORS)})" for _ in range(150)]
    plain = [
        operator
        for operator in _OPERATORS
        if " " not in operator.replace(" bool", "") and operator not in {"and", "or", "unless"}
    ]
    scalars = [f"{rng.choice(_VECTORS)} {rng.choice(plain)} {rng.choice(_SCALARS)}" for _ in range(40)]
    nested = [f"sum by (x) ({rng.choice(vectors)}) {rng.choice(_OPERATORS)} ({rng.choice(vectors)})" for _ in range(40)]
    return [*_VECTORS, *vectors, *scalars, *nested]


def _data(rng: random.Random) -> dict[Labels, list[float | str | None]]:
    """Series with gaps, stale markers and NaN. Values are eighths, so that sums are exact in any order."""
    names = [("a", x, y) for x in "123" for y in "pqr"] + [("b", x, y) for x in "12" for y in "pq"]
    sets = [Labels({"__name__": name, "x": x, "y": y}) for name, x, y in names if rng.random() < 0.8]
    sets += [Labels({"__name__": "one", "x": "1", "w": "v"})]
    choices: list[float | str | None] = [None, "stale", float("nan"), *(n / 8 for n in range(-8, 24, 3))]
    weights = [3, 2, 1, *[3] * (len(choices) - 3)]
    return {labels: rng.choices(choices, weights, k=12) for labels in sets}


@pytest.mark.parametrize("seed", range(4))
def test_our_evaluator_agrees_on_random_data(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - reproducible data, no secret
    data, at = _data(rng), 60.0 * rng.randrange(6, 11) + 30
    store = SampleStore()
    for step in range(int(at // 60) + 1):
        for labels, values in data.items():
            value = values[step]
            if value is not None:
                store.land(repr(labels), step * 60.0, [] if isinstance(value, str) else [(labels, value)])
    cases: list[dict[str, object]] = []
    refused = set()
    for text in _expressions(rng):
        case: dict[str, object] = {"expr": text, "eval_time": f"{at:.0f}s"}
        try:
            result = Query.compile(text).evaluate(store, at)
            cases.append({**case, "exp_samples": [{"labels": _written(one), "value": value} for one, value in result]})
        except QueryError as error:
            # Prometheus 2.42 says "multiple matches" only of what its filter lets pass, 3 of all
            if "multiple matches" not in error.message:
                cases.append(case)
                refused.add(text)
    assert len(cases) > 150
    assert refused
    series = [{"series": repr(labels), "values": " ".join(map(_notation, values))} for labels, values in data.items()]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    path = tmp_path / "differential.yml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}, width=10_000))
    judged = promtool("test", "rules", path)
    differing, erring = _verdict(judged.stdout + judged.stderr)
    assert differing == []
    assert erring == refused


_DIFFERENCE = re.compile(r'expr: "(?P<expr>.*)", time: \S+, *\n\s+exp: *(?P<expected>.*)\n\s+got: *(?P<found>.*)')
_ERROR = re.compile(r'expr: "(?P<expr>.*)", time: \S+, err: ')


def _verdict(output: str) -> tuple[list[tuple[str, ...]], set[str]]:
    """Expressions with another result, and those that failed. To promtool 2.42 NaN differs from NaN: not so here."""
    differing = [match.groups() for match in _DIFFERENCE.finditer(output) if match["expected"] != match["found"]]
    return differing, {match["expr"].replace('\\"', '"') for match in _ERROR.finditer(output)}


def _notation(value: float | str | None) -> str:
    return "_" if value is None else value if isinstance(value, str) else repr(value).replace("nan", "NaN")


def _written(labels: Labels) -> str:
    inner = ", ".join(f"{name}={json.dumps(value)}" for name, value in labels.pairs if name != "__name__")
    return f"{labels.name}{{{inner}}}"
