"""Rule files: everything that is wrong is reported at once, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules import AlertRule, RecordRule, RuleFileError, load_files, parse_text

GOOD = """\
groups:
  - name: one
    interval: 30s
    limit: 5
    query_offset: 1m
    labels: {team: dba, level: 1}
    rules:
      - record: env:size:sum
        expr: sum by (env) (size)
        labels: {kind: all}
      - alert: Large
        expr: env:size:sum > 1e9
        for: 1h30m
        keep_firing_for: 10m
        labels: {severity: warning, size: "{{ $value | humanize }}"}
        annotations:
          summary: "{{ $labels.env }} is large"
  - name: two
    rules:
"""

BAD = """\
groups:
  - name: one
    intervall: 5s
    interval: soon
    rules:
      - alert: A
        expr: up ==
        for: 5x
        annotations: {"not ok": "{{ $value | shout }}"}
      - record: not-a-name
        expr: up
        for: 1m
      - record: b
        alert: B
        expr: up
      - expr: up
      - alert: C
        expr: quantile(0.5, up)
        labels: {__name__: x}
        labels: {severity: info}
      - alert: D
      - nothing
  - name: one
    limit: many
    rules: {}
  - rules: []
"""


def test_a_good_file() -> None:
    one, two = parse_text(GOOD, "good.yml", interval=7.0)
    assert (one.name, one.interval, one.limit, one.query_offset, one.labels) == (
        "one",
        30.0,
        5,
        60.0,
        (("team", "dba"), ("level", "1")),
    )
    assert (two.interval, two.rules) == (7.0, ())
    record, alert = one.rules
    assert isinstance(record, RecordRule)
    assert isinstance(alert, AlertRule)
    assert (record.name, record.labels, record.line) == ("env:size:sum", (("kind", "all"),), 8)
    assert (alert.name, alert.hold, alert.keep_firing, alert.line) == ("Large", 5400.0, 600.0, 11)
    assert [name for name, _ in alert.annotations] == ["summary"]


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(RuleFileError) as caught:
        parse_text(BAD, "bad.yml")
    found = {(problem.line, problem.message) for problem in caught.value.problems}
    expected = [
        (3, "field 'intervall' not found"),
        (4, "group 'one': not a valid duration string: 'soon'"),
        (7, "rule 'A': could not parse expression"),
        (8, "rule 'A': not a valid duration string: '5x'"),
        (9, "invalid label name: 'not ok'"),
        (9, 'function "shout" not defined'),
        (10, "invalid recording rule name: 'not-a-name'"),
        (12, "invalid field 'for' in recording rule"),
        (13, "only one of 'record' and 'alert'"),
        (16, "one of 'record' or 'alert' must be set"),
        (18, "the aggregation quantile is not supported, in expr 'quantile(0.5, up)'"),
        (20, "mapping key 'labels' already defined"),
        (21, "rule 'D': field 'expr' must be set"),
        (22, "must be a mapping"),
        (22, "must be set"),
        (23, "'one' is repeated"),
        (24, "invalid literal"),
        (25, "must be a list"),
        (26, "must not be empty"),
    ]
    missing = [(line, text) for line, text in expected if not any(line == at and text in said for at, said in found)]
    assert not missing, sorted(found)
    assert str(caught.value).startswith("bad.yml:3: ")


@pytest.mark.parametrize("text", ["", "groups:\n", "groups: []\n", "# nothing\n"])
def test_an_empty_file_has_no_groups(text: str) -> None:
    assert parse_text(text, "empty.yml") == []


@pytest.mark.parametrize(
    "text", ["groups: [", "- a\n- b\n", "groups: 5\n", "a: b\n", "[" * 3000, "a: &a [*a]\n", "\x00"]
)
def test_what_is_no_rule_file(text: str) -> None:
    with pytest.raises(RuleFileError, match=r"odd\.yml:1"):
        parse_text(text, "odd.yml")


def test_files_are_judged_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yml").write_text(BAD)
    with pytest.raises(RuleFileError) as caught:
        load_files([tmp_path / "one.yml", tmp_path / "none.yml", tmp_path / "two.yml"])
    files = [Path(problem.file).name for problem in caught.value.problems]
    assert files.count("one.yml") == files.count("two.yml") > 10
    assert files.count("none.yml") == 1
