"""Prometheus's own promtool as the judge: of the shipped rules and of our loader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rules import Dialect, RuleFileError, parse_text

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
        parse_text(text, "rules.yml", dialect=Dialect(compat=2))
        ours = True
    except RuleFileError:
        ours = False
    assert ours is accepted
