"""Suggested SQL: in an order that works, as people would write it, and a comment where SQL cannot."""

import pytest

from fleet.schema import Catalogue, Kind, SchemaObject, compare, suggest


def make(kind: Kind, name: str, table: str | None = None, /, **definition: str) -> SchemaObject:
    return SchemaObject(kind, name, table, {part.replace("_", " "): text for part, text in definition.items()})


def repair(actual: list[SchemaObject], wanted: list[SchemaObject]) -> list[str]:
    there, reference = Catalogue.of(actual, 18), Catalogue.of(wanted, 18)
    return suggest(compare(there, reference), reference)


T = "app.t"
TABLE = [make("table", T, T), make("column", "a", T, type="integer")]
INDEX = make("index", "app.t_a", T, definition="USING btree (a)", where="(a > 0)", unique="UNIQUE")
VIEW = make("view", "app.v", "app.v", query=" SELECT a\n   FROM app.t;")
MOOD = make("type", "app.mood", form="ENUM", labels="'sad', 'ok'")


def test_nothing_differs() -> None:
    assert repair(TABLE, TABLE) == []


def test_an_index_is_built_without_blocking_writers_but_for_partitioned_tables() -> None:
    index = "INDEX CONCURRENTLY t_a ON app.t USING btree (a) WHERE (a > 0)"
    assert repair(TABLE, [*TABLE, INDEX]) == [f"CREATE UNIQUE {index}"]
    partitioned = [make("table", T, T, partition_by="RANGE (a)"), *TABLE[1:]]
    assert repair(partitioned, [*partitioned, INDEX]) == [f"CREATE UNIQUE {index.replace(' CONCURRENTLY', '')}"]


def test_what_is_made_comes_after_what_it_mentions() -> None:
    base = make("view", "app.z", "app.z", query=" SELECT 1;")
    above = make("view", "app.a", "app.a", query=" SELECT * FROM app.z;")
    schema = make("schema", "app")
    assert repair([], [above, base, schema]) == [
        "CREATE SCHEMA app",
        "CREATE VIEW app.z AS\nSELECT 1",
        "CREATE VIEW app.a AS\nSELECT * FROM app.z",
    ]
    assert repair([above, base, schema], []) == [
        "DROP VIEW IF EXISTS app.a",
        "DROP VIEW IF EXISTS app.z",
        "DROP SCHEMA IF EXISTS app",
    ]


def test_tables_that_refer_to_each_other() -> None:
    u = "app.u"
    both = [*TABLE, make("table", u, u), make("column", "a", u, type="integer")]
    keys = [
        make("constraint", "to_u", T, definition="FOREIGN KEY (a) REFERENCES app.u(a)"),
        make("constraint", "to_t", u, definition="FOREIGN KEY (a) REFERENCES app.t(a)"),
        make("constraint", "t_key", T, definition="UNIQUE (a)"),
        make("constraint", "u_key", u, definition="UNIQUE (a)"),
    ]
    assert repair([*both, *keys], []) == ["DROP TABLE app.t, app.u"]
    made = repair([], [*both, *keys])
    assert [line.split()[:3] for line in made[:2]] == [["CREATE", "TABLE", T], ["CREATE", "TABLE", u]]
    assert [line.split()[5] for line in made[2:]] == ["t_key", "u_key", "to_u", "to_t"]


def test_views_make_room_for_a_type_that_changes() -> None:
    wanted = [TABLE[0], make("column", "a", T, type="bigint", default="0"), VIEW]
    actual = [TABLE[0], make("column", "a", T, type="integer", default="1"), VIEW]
    assert repair(actual, wanted) == [
        "DROP VIEW IF EXISTS app.v",
        "ALTER TABLE app.t ALTER COLUMN a DROP DEFAULT",
        "ALTER TABLE app.t ALTER COLUMN a TYPE bigint USING a::bigint",
        "ALTER TABLE app.t ALTER COLUMN a SET DEFAULT 0",
        "CREATE VIEW app.v AS\nSELECT a\n   FROM app.t",
    ]


@pytest.mark.parametrize(
    ("labels", "statements"),
    [
        ("'new', 'sad', 'ok'", ["ALTER TYPE app.mood ADD VALUE 'new' BEFORE 'sad'"]),
        (
            "'sad', 'x', 'ok', 'y'",
            ["ALTER TYPE app.mood ADD VALUE 'x' AFTER 'sad'", "ALTER TYPE app.mood ADD VALUE 'y' AFTER 'ok'"],
        ),
        (
            "'ok'",
            [
                "ALTER TYPE app.mood RENAME TO mood_before",
                "CREATE TYPE app.mood AS ENUM ('ok')",
                "ALTER TABLE app.t ALTER COLUMN m TYPE app.mood USING m::text::app.mood",
                "DROP TYPE app.mood_before",
            ],
        ),
    ],
    ids=["before", "after", "without"],
)
def test_labels_of_an_enum(labels: str, statements: list[str]) -> None:
    column = make("column", "m", T, type="app.mood")
    wanted = make("type", "app.mood", form="ENUM", labels=labels)
    assert repair([*TABLE, column, MOOD], [*TABLE, column, wanted]) == statements


def test_a_table_is_renamed_before_its_columns() -> None:
    u = "app.u"
    actual = [
        make("table", u, u),
        make("column", "a", u, type="integer"),
        make("column", "b", T, type="text"),
        TABLE[0],
    ]
    wanted = [make("table", "app.z", "app.z"), make("column", "a", "app.z", type="integer")]
    wanted += [make("column", "c", T, type="text"), TABLE[0]]
    assert repair(actual, wanted) == [
        "ALTER TABLE app.u RENAME TO z",
        "ALTER TABLE app.t RENAME COLUMN b TO c",
    ]


def test_what_sql_cannot_do_is_a_comment() -> None:
    (line,) = repair(TABLE, [make("table", T, T, partition_by="RANGE (a)"), *TABLE[1:]])
    assert line.startswith("-- app.t: make it anew")


def test_a_function_that_is_called_alike_is_replaced_and_else_made_anew() -> None:
    def function(returns: str, body: str) -> list[SchemaObject]:
        text = f"CREATE OR REPLACE FUNCTION app.f()\n RETURNS {returns}\n LANGUAGE sql\nAS $function${body}$function$\n"
        return [make("function", "app.f()", form="FUNCTION", definition=text)]

    (replaced,) = repair(function("integer", "select 1"), function("integer", "select 2"))
    assert replaced.startswith("CREATE OR REPLACE FUNCTION app.f()")
    anew = repair(function("integer", "select 1"), function("text", "select 'x'"))
    assert [line.split("\n")[0] for line in anew] == [
        "SET check_function_bodies = off",
        "DROP FUNCTION IF EXISTS app.f()",
        "CREATE OR REPLACE FUNCTION app.f()",
    ]
