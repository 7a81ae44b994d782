"""`custode rules`: checks rule files and runs their unit tests, with the exit status that scripts need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import custode

SHIPPED = Path(__file__).parents[2] / "rules"
BAD = """\
groups:
  - name: g
    intervall: 1m
    rules:
      - alert: A
        expr: up ==
      - alert: B
        expr: up
      - alert: B
        expr: up == 0
"""


def test_the_shipped_rules_are_checked_when_no_file_is_named() -> None:
    done = custode("rules", "check")
    assert done.returncode == 0, done.stdout
    assert "Checking " in done.stdout
    assert "disks.yml" in done.stdout
    assert done.stdout.count("SUCCESS: ") == len(list(SHIPPED.glob("*.yml")))
    assert "WARNING" not in done.stdout


def test_every_problem_is_shown_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(BAD)
    (tmp_path / "good.yml").write_text("groups: [{name: g, rules: [{record: a, expr: up}]}]")
    done = custode("rules", "check", "bad.yml", "good.yml", cwd=tmp_path)
    assert done.returncode == 1
    assert "bad.yml:3: field intervall not found in a group; did you mean interval?" in done.stdout
    assert 'bad.yml:6: group "g", rule 1, "A": could not parse expression' in done.stdout
    assert "bad.yml:9: duplicate rule, first in line 7: B" in done.stdout
    assert "SUCCESS: 1 rules found" in done.stdout
    assert "duplicate" not in custode("rules", "check", "--no-lint", "bad.yml", cwd=tmp_path).stdout


def test_programs_read_json(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text(BAD)
    done = custode("rules", "check", "--json", "bad.yml", cwd=tmp_path)
    assert done.returncode == 1
    (file,) = json.loads(done.stdout)["files"]
    assert [problem["line"] for problem in file["problems"]] == [3, 6]
    assert [warning["line"] for warning in file["warnings"]] == [9]


@pytest.mark.parametrize(("compat", "status"), [("2", 1), ("3", 0)])
def test_the_dialect_can_be_chosen(tmp_path: Path, compat: str, status: int) -> None:
    (tmp_path / "new.yml").write_text("groups: [{name: g, rules: [{record: café, expr: up}]}]")
    assert custode("rules", "check", "--promql-compat", compat, "new.yml", cwd=tmp_path).returncode == status


def test_unit_tests_pass_and_fail(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(SHIPPED / "disks.yml", tmp_path)
    document = yaml.safe_load((SHIPPED / "tests" / "disks.yml").read_text())
    document["tests"] = [next(test for test in document["tests"] if "9.9%" in str(test))]  # the others take their time
    text = yaml.safe_dump(document, allow_unicode=True, width=10_000)
    (tmp_path / "tests" / "good.yml").write_text(text)
    (tmp_path / "tests" / "bad.yml").write_text(text.replace("9.9%", "9.8%"))
    good = custode("rules", "test", "tests/good.yml", cwd=tmp_path)
    assert good.returncode == 0, good.stdout
    assert "SUCCESS" in good.stdout
    bad = custode("rules", "test", "tests/good.yml", "tests/bad.yml", cwd=tmp_path)
    assert bad.returncode == 1
    assert "FAILED" in bad.stdout
    assert "alertname: DiskSpaceLow, time: 1m" in bad.stdout
    assert "9.8% of qa's disk is free" in bad.stdout
    assert "9.9% of qa's disk is free" in bad.stdout
    as_json = custode("rules", "test", "--json", "tests/bad.yml", cwd=tmp_path)
    assert json.loads(as_json.stdout)["files"][0]["failures"][0]["subject"] == "DiskSpaceLow"


@pytest.mark.parametrize(
    "arguments", [("check", "none.yml"), ("test", "none.yml"), ("test",), ("check", "--promql-compat", "4")]
)
def test_a_request_that_makes_no_sense(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = custode("rules", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
