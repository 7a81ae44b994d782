"""What Alembic prints, taken apart; what will be locked by it; what squawk says of it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from fleet.environment import REFUSED_RULES, SchemaSettings
from fleet.errors import ConfigError, ProcessError
from fleet.migrating import Application, does_nothing, lint, sections
from fleet.migrating.application import _error, _url
from fleet.migrating.forecast import Blocks, Size, concurrent_indexes, forecast, runs_concurrently, table_names
from fleet.migrating.statements import Statement

PRINTED = """\
BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> one

CREATE TABLE notes (id INTEGER, text TEXT DEFAULT 'a;b -- no comment');
INSERT INTO notes VALUES (1, 'it''s; -- Running upgrade x -> y');
DO $body$ BEGIN PERFORM 1; /* ; */ END $body$;
INSERT INTO alembic_version (version_num) VALUES ('one');

COMMIT;

BEGIN;

-- Running upgrade one -> two_è

COMMIT;

CREATE INDEX CONCURRENTLY "odd;""name" ON notes (text);

BEGIN;

UPDATE alembic_version SET version_num='two_è' WHERE alembic_version.version_num = 'one';

COMMIT;

BEGIN;

-- Running upgrade two_è, x -> merge

DELETE FROM alembic_version WHERE alembic_version.version_num = 'x';

COMMIT;
"""


def test_a_print_is_split_into_revisions_and_statements() -> None:
    one, two, merge = sections(PRINTED, "alembic_version")
    assert [(each.before, each.after) for each in (one, two, merge)] == [
        ((), ("one",)),
        (("one",), ("two_è",)),
        (("two_è", "x"), ("merge",)),
    ]
    assert [each.text.split()[0] for each in one.statements] == ["CREATE", "INSERT", "DO"]
    assert one.statements[1].text.endswith("x -> y')")
    assert len({each.transaction for each in one.statements}) == 1
    assert two.statements == [Statement('CREATE INDEX CONCURRENTLY "odd;""name" ON notes (text)', None)]
    assert merge.statements == []
    assert one.script.startswith("BEGIN;\nCREATE TABLE notes")
    assert one.script.endswith("\nCOMMIT;\n")
    assert "BEGIN" not in two.script


def test_one_transaction_around_all_is_around_each() -> None:
    printed = "BEGIN;\n-- Running upgrade  -> a\nSELECT 1;\n-- Running upgrade a -> b\nSELECT 2;\nCOMMIT;"
    assert [each.script for each in sections(printed, "v")] == [
        "BEGIN;\nSELECT 1;\nCOMMIT;\n",
        "BEGIN;\nSELECT 2;\nCOMMIT;\n",
    ]


NOTES = Size(bytes=8e9, index_bytes=2e9, rows=1e6)
SIZES = {"notes": NOTES, 'app."Odd"': NOTES}
NOBODY, WRITES, ALL = Blocks.NOBODY, Blocks.WRITES, Blocks.EVERYBODY


@pytest.mark.parametrize(
    ("text", "lock", "blocks", "long"),
    [
        ("ALTER TABLE notes ADD COLUMN at DATE", "ACCESS EXCLUSIVE", ALL, False),
        ("ALTER TABLE notes ADD at DATE DEFAULT now()", "ACCESS EXCLUSIVE", ALL, False),
        ("ALTER TABLE notes ADD COLUMN id uuid DEFAULT gen_random_uuid() NOT NULL", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes ADD COLUMN n BIGSERIAL", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes ADD COLUMN twice INT GENERATED ALWAYS AS (n * 2) STORED", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes DROP COLUMN at", "ACCESS EXCLUSIVE", ALL, False),
        ("ALTER TABLE notes RENAME COLUMN a TO b", "ACCESS EXCLUSIVE", ALL, False),
        ("ALTER TABLE notes ALTER COLUMN text TYPE VARCHAR(10)", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE ONLY notes ALTER COLUMN text SET NOT NULL", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes ADD CONSTRAINT k CHECK (n > 0)", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes ADD CONSTRAINT k CHECK (n > 0) NOT VALID", "ACCESS EXCLUSIVE", ALL, False),
        ("ALTER TABLE notes VALIDATE CONSTRAINT k", "SHARE UPDATE EXCLUSIVE", NOBODY, True),
        ("ALTER TABLE notes ADD CONSTRAINT f FOREIGN KEY(u) REFERENCES u (id)", "SHARE ROW EXCLUSIVE", WRITES, True),
        ("ALTER TABLE notes ADD FOREIGN KEY (u) REFERENCES users NOT VALID", "SHARE ROW EXCLUSIVE", WRITES, False),
        ("ALTER TABLE notes ADD PRIMARY KEY (id)", "ACCESS EXCLUSIVE", ALL, True),
        ("ALTER TABLE notes ADD CONSTRAINT k UNIQUE USING INDEX i", "ACCESS EXCLUSIVE", ALL, False),
        ('CREATE UNIQUE INDEX i ON app."Odd" (id)', "SHARE", WRITES, True),
        ("CREATE INDEX CONCURRENTLY i ON notes USING hnsw (e o)", "SHARE UPDATE EXCLUSIVE", NOBODY, True),
        ("DROP INDEX i", "ACCESS EXCLUSIVE", ALL, False),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", "SHARE UPDATE EXCLUSIVE", NOBODY, False),
        ("UPDATE notes SET a = b", "ROW EXCLUSIVE", NOBODY, True),
        ("DROP TABLE notes", "ACCESS EXCLUSIVE", ALL, False),
        ("CREATE INDEX ON newborn (id)", "SHARE", WRITES, False),
        ("CREATE TABLE t (id INT)", "no lock that others wait for", NOBODY, False),
        ("CREATE TRIGGER t AFTER UPDATE OF a ON notes EXECUTE FUNCTION f()", "SHARE ROW EXCLUSIVE", WRITES, False),
        ('CREATE CONSTRAINT TRIGGER "on x" AFTER INSERT ON notes', "SHARE ROW EXCLUSIVE", WRITES, False),
        ("DROP TRIGGER IF EXISTS t ON notes", "ACCESS EXCLUSIVE", ALL, False),
        ("CREATE POLICY p ON notes USING (true)", "ACCESS EXCLUSIVE", ALL, False),
        ("LOCK TABLE notes", "ACCESS EXCLUSIVE", ALL, False),
        ("lock notes, users in share mode nowait", "SHARE", WRITES, False),
        ("LOCK TABLE ONLY notes IN ROW  EXCLUSIVE MODE", "ROW EXCLUSIVE", NOBODY, False),
        ("CLUSTER notes USING i", "ACCESS EXCLUSIVE", ALL, True),
        ("CLUSTER (VERBOSE) notes", "ACCESS EXCLUSIVE", ALL, True),
    ],
)
def test_locks_and_times_are_those_of_the_documentation(
    text: str, lock: str | None, blocks: Blocks, long: bool
) -> None:
    (found,) = forecast([Statement(text, None)], SIZES)
    assert (found.lock, found.blocks, found.seconds > 10) == (lock, blocks, long)
    assert (found.held > 0) == (blocks is not NOBODY)


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN LOCK TABLE notes; END $$",
        "do $x$ begin alter table notes alter id type bigint; end $x$",
        "DO $$ BEGIN EXECUTE 'DROP TABLE ' || 'notes'; END $$",
        "DO $$ BEGIN RAISE NOTICE E'it\\'s'; CREATE INDEX i ON notes (a); RAISE NOTICE 'x'; END $$",
        "DO $$ BEGIN UPDATE notes SET a = b; END $$",
        "DO 'BEGIN DROP TABLE notes; END'",
        "DO LANGUAGE plpython3u $$ plpy.execute(x) $$",
        "CALL change_it()",
        "CLUSTER",
        "CLUSTER VERBOSE",
        "VACUUM (FULL) notes",
        "REINDEX TABLE notes",
        "ALTER INDEX i SET TABLESPACE fast",
        "ALTER DOMAIN d ADD CHECK (value > 0)",
    ],
)
def test_what_is_not_known_to_be_harmless_cannot_be_told(text: str) -> None:
    (found,) = forecast([Statement(text, None)], SIZES)
    assert found.lock is None
    assert str(found) == "what it locks cannot be told beforehand"


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN CREATE TYPE mood AS ENUM ('drop'); EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        """DO $$ DECLARE v text := (SELECT extversion FROM pg_extension); BEGIN -- don't
            IF v < '0.5' THEN RAISE EXCEPTION 'old' USING HINT = 'ALTER EXTENSION vector UPDATE'; END IF;
        END $$ LANGUAGE plpgsql""",
        "SELECT set_config('maintenance_work_mem', '256MB', false)",
        "WITH x AS (SELECT 1) INSERT INTO notes SELECT * FROM x",
        "SET LOCAL lock_timeout = '1s'",
        "INSERT INTO notes VALUES (1)",
        "COMMENT ON TABLE notes IS 'x'",
        "CREATE EXTENSION IF NOT EXISTS vector",
        "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DROP TABLE x; END $$",
        "CREATE TEMPORARY TABLE t (id INT)",
        "CREATE UNLOGGED TABLE t (id INT)",
        "CREATE MATERIALIZED VIEW m AS SELECT 1",
        "CREATE ROLE r",
        "ALTER TYPE mood ADD VALUE 'x'",
        "ALTER INDEX i RENAME TO j",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO r",
        "DROP PROCEDURE IF EXISTS p",
        "ANALYZE notes",
        "VACUUM notes",
        "REINDEX INDEX CONCURRENTLY i",
    ],
)
def test_what_is_known_to_hold_up_nobody(text: str) -> None:
    (found,) = forecast([Statement(text, 1)], SIZES)
    assert found.lock is not None
    assert (found.blocks, found.held) == (NOBODY, 0)


def test_a_lock_is_held_to_the_end_of_its_transaction() -> None:
    """The guide's rename in two steps: the copy of all rows holds up everybody, for the column is added before it."""
    add = "ALTER TABLE notes ADD COLUMN new_name TEXT"
    update = "UPDATE notes SET new_name = old_name"
    together = forecast([Statement(add, 1), Statement(update, 1)], SIZES)
    apart = forecast([Statement(add, 1), Statement(update, 2)], SIZES)
    assert together[0].held > 45
    assert apart[0].held < 1
    assert "reads and writes wait about 50 s" in str(together[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE INDEX ON notes (id)", 2.4e9),
        ("CREATE INDEX CONCURRENTLY ON notes USING hnsw (e o)", 8e9),
        ("ALTER TABLE notes ALTER COLUMN a TYPE INT", 10e9),
        ("ALTER TABLE notes ADD COLUMN a INT", 0),
    ],
)
def test_the_room_that_it_takes(text: str, expected: float) -> None:
    (found,) = forecast([Statement(text, None)], SIZES)
    assert found.disk_bytes == pytest.approx(expected)


def test_tables_and_concurrent_builds_are_named_as_written() -> None:
    statements = [
        Statement('create unique index concurrently "Odd ""i" on app."Odd" (id)', None),
        Statement("REINDEX TABLE CONCURRENTLY notes", None),
        Statement("ALTER TABLE notes ADD x INT", 1),
    ]
    assert concurrent_indexes(statements) == ['"Odd ""i"']
    assert table_names(statements) == {'app."Odd"', "notes"}
    assert [runs_concurrently([each]) for each in statements] == [True, True, False]


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("BEGIN;\nALTER TABLE notes DROP COLUMN a;\nCOMMIT;", "ban-drop-column"),
        ("BEGIN;\nALTER TABLE notes RENAME COLUMN a TO b;\nCOMMIT;", "renaming-column"),
        ("BEGIN;\nALTER TABLE notes ADD COLUMN a TEXT NOT NULL;\nCOMMIT;", "adding-required-field"),
        (
            "BEGIN;\nCREATE INDEX CONCURRENTLY i ON n (a);\nSELECT 1;\nCOMMIT;",
            "ban-concurrent-index-creation-in-transaction",
        ),
        ("BEGIN;\nALTER TABLE notes ALTER COLUMN a TYPE INT;\nCOMMIT;", "changing-column-type"),
        ("BEGIN;\nDROP TABLE notes;\nCOMMIT;", "ban-drop-table"),
        ("this is no SQL;", "syntax-error"),
    ],
)
async def test_squawk_names_what_is_refused(sql: str, rule: str) -> None:
    found = {each.rule for each in await lint(sql, server=18, ignored=SchemaSettings().ignored_rules)}
    assert rule in found
    assert rule in REFUSED_RULES


async def test_squawk_has_nothing_against_what_is_safe() -> None:
    assert await lint("ALTER TABLE n ADD COLUMN a TEXT;", server=15, ignored=SchemaSettings().ignored_rules) == []
    assert await lint("", server=18) == []
    (found,) = await lint(
        "BEGIN;\n\nCREATE INDEX i ON n (a);\nCOMMIT;", server=18, ignored=SchemaSettings().ignored_rules
    )
    assert (found.rule, found.line) == ("require-concurrent-index-creation", 3)
    with pytest.raises(ProcessError, match="squawk ended"):
        await lint("SELECT 1;", server=18, ignored=["no-such-rule"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def upgrade() -> None:\n    pass", True),
        ('def upgrade():\n    """Merge."""', True),
        ("def upgrade():\n    op.execute('CREATE EXTENSION IF NOT EXISTS vector;')", True),
        ("def upgrade():\n    op.execute('CREATE EXTENSION vector; UPDATE notes SET a = b')", False),
        ("def upgrade():\n    op.execute('UPDATE notes SET a = b')", False),
        ("def upgrade():\n    op.execute(f'CREATE EXTENSION {name}')", False),
        ("def upgrade():\n    pass\ndef upgrade():\n    fill()", False),
        ("upgrade = fill", False),
        ("def upgrade(", False),
        ("", False),
    ],
)
def test_a_script_that_does_nothing(source: str, expected: bool) -> None:
    assert does_nothing(source.encode()) is expected


@pytest.mark.parametrize(
    ("dsn", "scheme", "expected"),
    [
        (
            "postgresql+asyncpg://u:p%40@h:1/db?ssl=require",
            None,
            "postgresql+asyncpg://u:p%40@h:1/o%20ther?ssl=require",
        ),
        ("postgresql://u@/db?host=/tmp/a", "postgresql+psycopg", "postgresql+psycopg://u@/o%20ther?host=/tmp/a"),
    ],
)
def test_the_url_is_the_dsns_with_another_database(dsn: str, scheme: str | None, expected: str) -> None:
    assert _url(dsn, "o ther", scheme, urlsplit(dsn).query) == expected


def test_an_error_is_its_own_line_without_rows() -> None:
    said = b"""Traceback (most recent call last):
  File "x", line 1
sqlalchemy.exc.IntegrityError: (psycopg.errors.UniqueViolation) could not create unique index "i"
DETAIL:  Key (fiscal_code)=(RSSMRA85T10A562S) is duplicated.
[SQL: create unique index i on people (fiscal_code)]
"""
    assert _error("upgrade", said, 1) == (
        "alembic upgrade ended with status 1: sqlalchemy.exc.IntegrityError: (psycopg.errors.UniqueViolation)"
        ' could not create unique index "i"'
    )
    assert _error("upgrade", b"FAILED: Can't locate revision identified by 'x'\n", 255).endswith("identified by 'x'")


def test_without_a_directory_nothing_is_run() -> None:
    with pytest.raises(ConfigError, match=r"migrations\.directory is not set"):
        _ = Application(SchemaSettings()).directory
