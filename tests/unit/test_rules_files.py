"""Rule files: everything that is wrong is reported at once, with its line."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules import AlertRule, Dialect, RecordRule, RuleFileError, load_files, parse_text
from rules.files import read_file
from rules.model import short_names

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
        expr: quantiles(0.5, up)
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
        parse_text(BAD, "bad.yml", dialect=Dialect(compat=2))
    found = [(problem.line, problem.message) for problem in caught.value.problems]
    expected = [
        (3, "field intervall not found in a group; did you mean interval?"),
        (4, 'group "one": not a valid duration string: "soon"'),
        (7, 'group "one", rule 1, "A": could not parse expression'),
        (8, 'rule 1, "A": not a valid duration string: "5x"'),
        (9, 'rule 1, "A": invalid annotation name: not ok'),
        (9, 'rule 1, "A": annotation "not ok": '),
        (10, "invalid recording rule name: not-a-name"),
        (12, "invalid field 'for' in recording rule"),
        (13, "only one of 'record' and 'alert' must be set"),
        (16, "rule 4, \"\": one of 'record' or 'alert' must be set"),
        (18, "unknown function"),
        (19, "invalid label name: __name__"),
        (20, 'mapping key "labels" already defined at line 19'),
        (21, "rule 6, \"D\": field 'expr' must be set in rule"),
        (22, "cannot unmarshal !!str `nothing` into a rule"),
        (23, 'groupname: "one" is repeated in the same file'),
        (24, 'group "one": cannot unmarshal !!str `many` into int'),
        (25, "cannot unmarshal !!map into a list of rules"),
        (26, "Groupname must not be empty"),
    ]
    missing = [(line, text) for line, text in expected if not any(line == at and text in said for at, said in found)]
    assert not missing, found
    assert len(found) == len(expected)
    assert found == sorted(found, key=lambda problem: problem[0])
    assert str(caught.value).startswith("bad.yml:3: ")


@pytest.mark.parametrize("text", ["", "groups:\n", "groups: []\n", "# nothing\n"])
def test_an_empty_file_has_no_groups(text: str) -> None:
    assert parse_text(text, "empty.yml") == []


@pytest.mark.parametrize(
    "text", ["groups: [", "- a\n- b\n", "groups: 5\n", "a: b\n", "[" * 3000, "a: &a [*a]\n", "\x00"]
)
def test_what_is_no_rule_file(text: str) -> None:
    with pytest.raises(RuleFileError, match=r"odd\.yml:[12]: "):
        parse_text(text, "odd.yml")


def test_files_are_judged_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yml").write_text(BAD)
    with pytest.raises(RuleFileError) as caught:
        load_files([tmp_path / "one.yml", tmp_path / "none.yml", tmp_path / "two.yml"])
    files = [Path(problem.file).name for problem in caught.value.problems]
    assert files.count("one.yml") == files.count("two.yml") > 10
    assert files.count("none.yml") == 1


PROMETHEUS_3 = Dialect()
BOMB = "a: &a [x, x]\n" + "".join(
    f"{one}: &{one} [{','.join([f'*{before}'] * 9)}]\n" for before, one in itertools.pairwise("abcdefghi")
)


def _accepted(text: str, dialect: Dialect = PROMETHEUS_3) -> bool:
    try:
        parse_text(text, "f.yml", dialect=dialect)
    except RuleFileError:
        return False
    return True


def _group(field: str) -> str:
    return f"groups:\n- name: g\n  {field}\n"


def _rule(*fields: str) -> str:
    return "groups:\n- name: g\n  rules:\n  - " + "\n    ".join(fields) + "\n"


# the verdicts of Prometheus 3, which reads a scalar as text whatever it looks like
@pytest.mark.parametrize(
    "text",
    [
        "groups: ~\n---\ngroups: 5\n",
        "groups: [null]\n",
        _group("rules: [null]"),
        "groups: [{name: 5}]",
        "groups: [{name: true}]",
        "groups: [{name: !foo x}]",
        "groups: [{name: !!str 5}]",
        "groups: [{name: !!int 5}]",
        "groups: [{name: !!binary aGVsbG8=}]",
        "groups: [{name: 2020-01-01}]",
        "groups: !!map []",
        "<<: {groups: []}",
        _group("interval: 0"),
        _group("interval:"),
        _group("interval: 1y2w3d4h5m6s7ms"),
        _group("interval: 292y"),
        _group("limit: -3"),
        _group("limit: 3.5"),
        _group("limit: 1_000"),
        _group("limit: 0b11"),
        _group("limit: 08"),
        _group("limit: !!float 3"),
        _group("limit: ~"),
        _group("null: x"),
        _group("query_offset: 1m"),
        _group("labels: {a: 1}"),
        _rule("alert: A", "expr: 1"),
        _rule("alert: 5", "expr: up"),
        _rule("alert: A", "expr: 2020-01-01"),
        _rule("alert: A", "expr: '\"text\"'"),
        _rule("alert: A", "expr: up[5m]"),
        _rule("record: true", "expr: up"),
        _rule("alert: A", "expr: up", "labels: {a: 1, b: true, c: null, d: 1.5, null: x}"),
        _rule("alert: A", "expr: up", "labels: {<<: {a: b}, a: c}"),
        _rule("alert: A", "expr: up", "labels: {<<: [{a: b}, {a: d}]}"),
        _rule("alert: A", "expr: up", "for: 0", "labels: null", "annotations: {a: }"),
        _rule("record: a", "expr: up", "for: 0s", "keep_firing_for:", "annotations: {}"),
        _rule("alert: A", "expr: up", "record: ''"),
        _rule("record: é", "expr: up", "labels: {é: x, a-b: y}"),
        "groups:\n- &a {name: g}\n- {<<: *a, name: h}\n",
        '{"groups":[{"name":"g"}]}',
        "\ufeffgroups: []",
        "groups: []\r\n",
    ],
)
def test_what_is_accepted(text: str) -> None:
    assert _accepted(text)


@pytest.mark.parametrize(
    "text",
    [
        "Groups: []",
        "groups: []\ngroups: []\n",
        "groups: ''",
        "groups: [{}]",
        "groups: [{name: null}]",
        "groups: !!set {}",
        "groups: [{name: !!int a}]",
        "groups: [{name: [a]}]",
        "groups: &g [*g]",
        "groups: *a",
        "%YAML 1.2\n---\ngroups: []",
        _group("interval: 5"),
        _group("interval: ''"),
        _group("interval: ' 5m'"),
        _group("interval: 300y"),
        _group("interval: ٥m"),
        _group("interval: 00"),
        _group(f"interval: {'9' * 5000}s"),
        _group("interval: []"),
        _group("limit: '3'"),
        _group("limit: true"),
        _group("limit: 1h"),
        _group("limit: 9223372036854775808"),
        _group("limit: .inf"),
        _group("limit: !!str 3"),
        _group("5: x"),
        _group("[a]: x"),
        _group("rules: ''"),
        _rule("alert: A"),
        _rule("alert: A", "expr: null"),
        _rule("alert: A", "expr: []"),
        _rule("alert: A", "expr: !!int up"),
        _rule("alert: null", "expr: up"),
        _rule("alert: A", "record: b", "expr: up"),
        _rule("record: a{}", "expr: up"),
        _rule("alert: A", "expr: up", "for: 5"),
        _rule("alert: A", "expr: up", "for: ''"),
        _rule("alert: A", "expr: up", "for: -5m"),
        _rule("alert: A", "expr: up", "labels: {a: []}"),
        _rule("alert: A", "expr: up", "labels: ''"),
        _rule("alert: A", "expr: up", "labels: {<<: 5}"),
        _rule("alert: A", "expr: up", 'labels: {"<<": {a: b}}'),
        _rule("alert: A", "expr: up", "labels: {a: b, 'a': c}"),
        _rule("alert: A", "expr: up", "labels: {__name__: c}"),
        _rule("alert: A", "expr: up", "labels: {'': c}"),
        _rule("alert: A", "expr: up", "labels: {a: !!binary /w==}"),
        _rule("alert: A", "expr: up", "labels: {a: '{{'}"),
        _rule("alert: A", "expr: up", "annotations: {a: '{{ foo }}'}"),
        _rule("record: a", "expr: up", "annotations: {a: b}"),
        "groups:\n- <<: {foo: 1}\n  name: g\n",
        "groups:\n- <<: {name: h}\n  name: g\n  <<: {interval: 5m}\n",
        "groups:\n\t- name: g\n",
    ],
)
def test_what_is_refused(text: str) -> None:
    assert not _accepted(text)


@pytest.mark.parametrize("fields", [("record: é", "expr: up"), ("alert: A", "expr: up", "labels: {é: x}")])
def test_names_are_ascii_in_the_old_dialect(tmp_path: Path, fields: tuple[str, ...]) -> None:
    assert not _accepted(_rule(*fields), Dialect(compat=2))
    (tmp_path / "f.yml").write_text(_rule(*fields))
    assert ["Prometheus 2 refuses" in problem.message for problem in read_file(tmp_path / "f.yml").warnings] == [True]


def test_merged_fields_come_after_those_that_are_written() -> None:
    text = _rule("alert: A", "expr: up", "labels: {<<: [{a: first, b: first}, {b: second, c: second}], a: own}")
    (group,) = parse_text(text, "f.yml")
    (rule,) = group.rules
    assert isinstance(rule, AlertRule)
    merged = {name: template.source for name, template in rule.labels}
    assert merged == {"a": "own", "b": "first", "c": "second"}


def test_what_is_probably_not_meant(tmp_path: Path) -> None:
    rules = "[{alert: A, expr: a}, {alert: A, expr: b}, {alert: A, expr: a, labels: {x: y}}, {record: A, expr: a}]"
    (tmp_path / "f.yml").write_text(f"groups: [{{name: g, rules: {rules}}}]\n---\ngroups: []\n")
    read = read_file(tmp_path / "f.yml")
    assert not read.problems
    said = [(problem.line, problem.message) for problem in read.warnings]
    assert [(line, "duplicate rule" in message) for line, message in said] == [(1, True), (1, True), (2, False)]
    assert "only the first YAML document" in said[-1][1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "excessive aliasing"),
        ("[" * 100_000, "nesting"),
        ("groups: " + "[" * 200 + "]" * 200, "levels deep"),
        ("- " * 50_000, "nest"),
        ("#" * (16 * 1024 * 1024 + 1), "larger than"),
        (_rule("alert: A", f"expr: {'(' * 100_000}up{')' * 100_000}"), "operators"),
        (_rule("alert: A", f"expr: 'up{{a=~\"{'(a{1,1000}){1,1000}' * 10}\"}}'"), "not one of RE2"),
        (_rule("alert: A", "expr: up", f"annotations: {{a: '{'{{' * 10_000}'}}"), "annotation"),
        ("groups:\n" + "- {name: 5, foo: 1}\n" * 2_000, "more than 500 problems"),
    ],
    ids=["aliases", "flow", "sequences", "blocks", "size", "parentheses", "regex", "template", "problems"],
)
def test_hostile_files_end_in_an_error(text: str, said: str) -> None:
    with pytest.raises(RuleFileError, match=said):
        parse_text(text, "f.yml")


@given(st.one_of(st.binary(), st.text(), st.text("groups:[]{}-&*!| \n\"'<~0")))
def test_nothing_but_rule_file_errors(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    read = read_file(path)
    assert all(problem.line >= 1 and problem.message for problem in read.problems)


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text("groups: [{name: g}]")
    assert [group.name for group in load_files([tmp_path / "one.yml", tmp_path / "one.yml"])] == ["g"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["/etc/a.yml", "/etc/b.yml"], ["a.yml", "b.yml"]),
        (["/etc/x/a.yml", "/etc/y/a.yml", "/etc/y/b.yml"], ["x/a.yml", "y/a.yml", "b.yml"]),
        (["/x/1/a.yml", "/y/1/a.yml", "/y/2/a.yml"], ["x/1/a.yml", "y/1/a.yml", "2/a.yml"]),
        (["a.yml", "x/a.yml"], ["a.yml", "x/a.yml"]),
        ([], []),
    ],
)
def test_short_names_tell_files_apart(files: list[str], names: list[str]) -> None:
    assert short_names(files) == dict(zip(files, names, strict=True))
