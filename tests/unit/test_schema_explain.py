"""Which revisions a schema has in fact: by objects that come, change, go and come again; and guards of a repair."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fleet.revisions import Revision, RevisionGraph, build_graph
from fleet.schema import Catalogue, SchemaObject
from fleet.schema.explain import Explanation, Verdict, explain
from fleet.schema.history import History
from fleet.schema.remedies import guarded, listed

T = "app.t"
P, C, Y, M, S = Verdict.PRESENT, Verdict.CHANGED, Verdict.PARTLY, Verdict.MISSING, Verdict.SILENT
TABLE = SchemaObject("table", T, T, {})


def column(name: str, type_: str = "text", table: str = T) -> SchemaObject:
    return SchemaObject("column", name, table, {"type": type_})


def chain(*changes: tuple[SchemaObject | tuple[SchemaObject], ...]) -> tuple[History, RevisionGraph]:
    """Revisions "1", "2", ... one after the other; an object that a revision removes is in a tuple of its own."""
    steps: dict[str, Mapping[tuple[str, str, str], SchemaObject | None]] = {}
    for number, changed in enumerate(changes, 1):
        steps[str(number)] = {
            (one[0] if isinstance(one, tuple) else one).key: None if isinstance(one, tuple) else one for one in changed
        }
    revisions = [Revision(id_, (str(int(id_) - 1),) if id_ != "1" else ()) for id_ in steps]
    return History({}, steps, 18), build_graph(revisions)


def judge(there: list[SchemaObject], made: tuple[History, RevisionGraph], *rows: str) -> Explanation:
    return explain(Catalogue.of(there, 18), *made, rows)


def verdicts(found: Explanation) -> list[Verdict]:
    return [one.verdict for one in found.findings]


RENAME = chain((TABLE, column("a")), (column("b"), (column("a"),)), (column("c"),))


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([], [M, M, M]),
        ([TABLE, column("a")], [P, M, M]),
        ([TABLE, column("b")], [P, P, M]),
        ([TABLE, column("a"), column("b")], [P, Y, M]),
        ([TABLE, column("b"), column("c")], [P, P, P]),
        ([TABLE, column("a"), column("c")], [P, M, P]),
        ([TABLE, column("b", "integer")], [P, C, M]),
    ],
    ids=["nothing", "before", "after", "both_names", "all", "one_left_out", "another_type"],
)
def test_a_rename_is_there_or_not(there: list[SchemaObject], expected: list[Verdict]) -> None:
    assert verdicts(judge(there, RENAME)) == expected


def test_what_is_changed_and_changed_back_tells_nothing_of_either() -> None:
    made = chain((TABLE, column("a")), (column("a", "integer"),), (column("a"),))
    assert verdicts(judge([TABLE, column("a")], made)) == [P, S, S]
    assert verdicts(judge([TABLE, column("a", "integer")], made)) == [P, P, M]


def test_what_is_gone_was_removed_where_it_was_known_to_be_there() -> None:
    made = chain((TABLE, column("a"), column("b")), ((column("b"),),))
    assert verdicts(judge([TABLE, column("a")], made)) == [P, P]
    assert verdicts(judge([TABLE, column("a"), column("b")], made)) == [P, M]
    assert verdicts(judge([], made)) == [M, S]  # it may never have been there


def test_a_silent_revision_goes_with_the_record_or_with_what_follows_it() -> None:
    made = chain((TABLE,), (), (column("a"),), ())
    assert judge([TABLE], made, "1").in_fact == {"1"}
    assert judge([TABLE], made, "2").in_fact == {"1", "2"}
    assert judge([TABLE, column("a")], made, "1").in_fact == {"1", "2", "3"}
    assert judge([TABLE, column("a")], made, "4").in_fact == {"1", "2", "3", "4"}


def test_it_is_sound_where_record_and_schema_agree_whatever_else_is_there() -> None:
    found = judge([TABLE, column("b"), SchemaObject("sequence", "app.s", None, {})], RENAME, "2")
    assert found.sound
    assert [one.object for one in found.beyond] == ["app.s"]
    assert not judge([TABLE, column("b")], RENAME, "1").sound
    assert not judge([TABLE, column("b")], RENAME, "3").sound
    assert not judge([TABLE, column("b")], RENAME, "2", "lost").sound


def test_ignored_objects_are_no_evidence() -> None:
    history, graph = RENAME
    found = explain(Catalogue.of([TABLE], 18), history, graph, ["3"], ignore=("column:*",))
    assert verdicts(found) == [P, S, S]
    assert found.sound


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE UNLOGGED TABLE app.t (a int)", "CREATE UNLOGGED TABLE IF NOT EXISTS app.t (a int)"),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY i ON app.t USING btree (a)",
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON app.t USING btree (a)",
        ),
        (
            'ALTER TABLE app."a ADD ""b" ADD COLUMN c text',
            'ALTER TABLE app."a ADD ""b" ADD COLUMN IF NOT EXISTS c text',
        ),
        ("ALTER TYPE app.m ADD VALUE 'x'", "ALTER TYPE app.m ADD VALUE IF NOT EXISTS 'x'"),
        ("CREATE VIEW app.v AS\nSELECT 1", "CREATE OR REPLACE VIEW app.v AS\nSELECT 1"),
        ("CREATE TRIGGER t BEFORE UPDATE", "CREATE OR REPLACE TRIGGER t BEFORE UPDATE"),
        ("ALTER TABLE app.t ALTER COLUMN a SET NOT NULL", "ALTER TABLE app.t ALTER COLUMN a SET NOT NULL"),
        ("DROP VIEW IF EXISTS app.v", "DROP VIEW IF EXISTS app.v"),
    ],
    ids=["table", "index", "column", "label", "view", "trigger", "alter", "drop"],
)
def test_a_repair_does_nothing_where_nothing_is_missing(statement: str, expected: str) -> None:
    assert list(guarded([statement])) == [expected]


@pytest.mark.parametrize(
    "statement", ["ALTER TABLE app.t ADD CONSTRAINT c CHECK (a > 0)", "CREATE TYPE app.m AS ENUM ()"]
)
def test_what_cannot_be_asked_whether_it_is_there_may_fail(statement: str) -> None:
    (found,) = guarded([statement])
    assert found.startswith("DO $repair$ BEGIN\n")
    assert f"\n{statement};\nEXCEPTION WHEN duplicate_object OR " in found


def test_what_comes_with_a_table_is_not_said_again() -> None:
    assert listed([TABLE, column("a"), column("b", table="app.u")]) == "table app.t, column app.u.b"
