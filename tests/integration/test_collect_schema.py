"""Revisions, objects and the fingerprint: equal schemas have equal ones, however they came to be."""

import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collectors import Target
from collectors._schema_facts import counterparts
from collectors.schema import SchemaCollector
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import SecretText
from tests.integration.debian_server import DebianServer
from tests.integration.sites import EMBEDDED_ONLY, WATCHER, Samples, Site, collected, samples

INFO = "custode_schema_revision_info"
BEHIND = "custode_schema_revisions_behind"
FINGERPRINT = "custode_schema_fingerprint_info"
OBJECTS = "custode_schema_objects"
MATCHES = "custode_schema_matches_reference"
DIFFERENCES = "custode_schema_differences"
MIGRATING = "custode_schema_migrating"

BASE = (
    "create table authors (id bigint generated always as identity primary key, name text not null)",
    "create type mood as enum ('sad', 'ok')",
    "create domain positive as int check (value > 0)",
    "create sequence counter start 5",
    "create function twice(i int) returns int language sql immutable as 'select i * 2'",
    "create aggregate total(int) (sfunc = int4pl, stype = int, initcond = '0')",
    "create text search configuration it (copy = italian)",
)
TABLES = (
    """create table books (id serial primary key, author bigint references authors, m mood default 'ok', p positive,
       at timestamptz default '2026-01-01 12:00+02', words text collate "C", check (p < 100))""",
    "create table events (at date not null, what text) partition by range (at)",
    "create table events_2026 partition of events for values from ('2026-01-01') to ('2027-01-01')",
)
REST = (
    "create index on books (lower(words)) where p > 1",
    "create index on events (at)",
    "create view recent as select id, words from books where at > '2026-01-01 00:00+00'",
    "create materialized view counted as select m, count(*) from books group by m",
    "create function touch() returns trigger language plpgsql as 'begin return new; end'",
    "create trigger touched before update on books for each row execute function touch()",
    "alter table books enable row level security",
    "create policy mine on books using (p > 0)",
    "create statistics both_columns on m, p from books",
    "create table alembic_version (version_num varchar(32) primary key)",
)


async def run(sql: asyncpg.Connection, *statements: str) -> None:
    for statement in statements:
        await sql.execute(statement)


async def fingerprint(target: Target) -> str:
    found = (await collected(SchemaCollector, target))[FINGERPRINT]
    assert target.failures == {}
    ((_, value),) = found
    return str(value)


async def elsewhere(site: Site, name: str, *statements: str) -> str:
    """The fingerprint of another database of the same server, made by `statements`."""
    await site.sql.execute(f"create database {name}")
    try:
        connection = await asyncpg.connect(site.server.dsn(name))
        await run(connection, *statements)
        await connection.close()
        target = site.target(databases=(name,))
        value = await fingerprint(target)
        await target.connections.close()
        return value
    finally:
        await site.sql.execute(f"drop database {name} with (force)")


async def test_equal_schemas_have_equal_fingerprints(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    other_order = (*reversed(BASE), *TABLES[1:], TABLES[0], REST[4], REST[7], REST[6], REST[9], REST[5], *REST[:4])
    mine = await fingerprint(site.target())
    assert mine == await elsewhere(site, f"{site.database}_b", *other_order, REST[8])
    assert len(mine) == 64


@pytest.mark.peer
async def test_two_major_versions_agree_on_what_they_write_alike(
    server: EmbeddedServer, debian: DebianServer, make_target: Callable[..., Target]
) -> None:
    values = []
    for one in (server, debian):
        admin = await asyncpg.connect(one.dsn())
        await admin.execute("create database two_versions")
        sql = await asyncpg.connect(one.dsn("two_versions"))
        await run(sql, *BASE, *TABLES, *REST[:2], *REST[4:])
        await sql.close()
        dsn, tls = SecretText(one.dsn("two_versions")), {"mode": "disable"}
        fields = {"name": "qa", "tier": "qa", "dsn": dsn, "tls": tls, "databases": ("two_versions",)}
        values.append(await fingerprint(make_target(Environment.model_validate(fields))))
        await admin.execute("drop database two_versions with (force)")
        await admin.close()
    assert values[0] == values[1]


async def test_data_and_tuning_are_no_drift(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    before = await fingerprint(site.target())
    await run(
        site.sql,
        "insert into alembic_version values ('abc')",
        "insert into authors (name) values ('x')",
        "select nextval('counter')",
        "alter table books set (autovacuum_vacuum_scale_factor = 0.01)",
        "comment on table books is 'x'",
        f"grant select on books to {WATCHER}",
        f"alter table authors owner to {WATCHER}",
        "alter table books add column gone int",
        "alter table books drop column gone",
        "refresh materialized view counted",
    )
    assert await fingerprint(site.target()) == before


@pytest.mark.parametrize(
    "change",
    [
        "alter table books add column x int",
        "alter table books alter words set not null",
        "alter table books alter m set default 'sad'",
        "alter table authors alter name type varchar(9)",
        "alter table books drop constraint books_p_check",
        "alter table books disable row level security",
        "alter table books set unlogged",
        "alter table books disable trigger touched",
        "drop index books_lower_idx",
        "create index on books (words)",
        "create or replace view recent as select id, words from books where p > 2",
        "alter view recent set (security_barrier)",
        "create or replace function twice(i int) returns int language sql immutable as 'select i + i'",
        "alter type mood add value 'happy'",
        "alter domain positive drop constraint positive_check",
        "alter sequence counter increment 2",
        "alter policy mine on books using (p > 1)",
        "drop statistics both_columns",
        "create table extra ()",
        "alter table events detach partition events_2026",
        "drop aggregate total(int)",
        "alter text search configuration it drop mapping for url",
    ],
)
async def test_a_change_changes_the_fingerprint(site: Site, change: str) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    before = await fingerprint(site.target())
    await run(site.sql, change)
    assert await fingerprint(site.target()) != before


async def test_what_a_session_is_set_to_changes_nothing(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    before = await fingerprint(site.target())
    for setting in ("search_path = public", "timezone = 'Asia/Tokyo'", "datestyle = 'German'", "extra_float_digits=0"):
        await site.sql.execute(f"alter database {site.database} set {setting}")
    assert await fingerprint(site.target()) == before


async def test_extensions_and_what_they_own_are_not_hashed(site: Site) -> None:
    before = await fingerprint(site.target())
    await site.sql.execute("create extension pg_stat_statements; create extension unaccent")
    found = await collected(SchemaCollector, site.target())
    assert [value for _, value in found[FINGERPRINT]] == [before]
    counts = {kind: count for (_, kind), count in found[OBJECTS].items() if count}
    assert counts == {"schema": 1, "extension": 2}


async def test_an_invalid_index_is_no_part_of_the_schema(site: Site) -> None:
    await run(site.sql, "create table t (a int)", "insert into t values (1), (1)")
    before = await collected(SchemaCollector, site.target())
    with pytest.raises(asyncpg.UniqueViolationError):
        await site.sql.execute("create unique index concurrently broken on t (a)")
    assert await collected(SchemaCollector, site.target()) == before


async def test_objects_by_kind(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    found = (await collected(SchemaCollector, site.target()))[OBJECTS]
    assert {kind: count for (_, kind), count in found.items() if count} == {
        "schema": 1,
        "type": 2,
        "text_search": 1,
        "table": 5,
        "column": 13,
        "index": 2,  # those of constraints and of partitions follow from these
        "constraint": 5,
        "statistics": 1,
        "view": 1,
        "materialized_view": 1,
        "function": 2,
        "aggregate": 1,
        "sequence": 2,  # that of an identity column is a part of it
        "trigger": 1,
        "policy": 1,
    }


async def test_hostile_names(site: Site) -> None:
    name = await site.sql.fetchval("select quote_ident($1)", "a\"b'c\n<!channel> è %I $1")
    before = await fingerprint(site.target())
    await run(
        site.sql,
        f"create schema {name}",
        f"create table {name}.{name} ({name} text check ({name} <> 'x'))",
        f"create index on {name}.{name} ({name})",
        f"create view {name}.v as table {name}.{name}",
    )
    assert await fingerprint(site.target()) != before


async def test_an_empty_database_has_a_fingerprint(site: Site) -> None:
    target = site.target()
    found = await collected(SchemaCollector, target)
    assert len(found[FINGERPRINT]) == 1
    assert found.get(INFO, {}) == {}
    assert {kind: count for (_, kind), count in found[OBJECTS].items() if count} == {"schema": 1}
    assert (target.gaps, target.failures) == ({}, {})


async def test_a_version_table_that_should_be_there_and_is_not_is_a_gap(site: Site, tmp_path: Path) -> None:
    for settings, table in (
        ({"scripts": str(scripts(tmp_path))}, "alembic_version"),
        ({"version_table": "app.versions"}, "app.versions"),
    ):
        target = site.target(migrations=settings)
        assert (await collected(SchemaCollector, target)).get(INFO, {}) == {}
        assert target.gaps == {table: f"no database has the table {table}, where Alembic keeps its revision"}
        assert target.failures == {}


async def test_a_locked_table_hides_only_the_objects(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST, f"grant select on alembic_version to {WATCHER}")
    await site.sql.execute("insert into alembic_version values ('abc')")
    target = site.target()
    async with site.sql.transaction():
        await site.sql.execute("lock table books in access exclusive mode")
        found = await collected(SchemaCollector, target)
    assert found.get(FINGERPRINT, {}) == {}
    assert found.get(OBJECTS, {}) == {}
    assert set(found[INFO]) == {(site.database, "abc")}
    assert found[MIGRATING] == {(site.database,): 0}
    assert isinstance(target.failures[f"{site.database} schema"], asyncpg.LockNotAvailableError)


def scripts(folder: Path) -> Path:
    for number in range(1, 4):
        down = f"'{number - 1}'" if number > 1 else None
        (folder / f"{number}.py").write_text(f"revision = '{number}'\ndown_revision = {down}\n")
    return folder


async def version(site: Site, *ids: str, table: str = "alembic_version") -> None:
    await site.sql.execute(f"create table {table} (version_num varchar(32))")
    await site.sql.execute(f"grant select on {table} to {WATCHER}")
    schema, _, name = table.rpartition(".")
    await site.sql.copy_records_to_table(name, schema_name=schema or "public", records=[(id_,) for id_ in ids])


@pytest.mark.parametrize(
    ("ids", "behind"), [(("3",), 0), (("1",), 2), ((), 3), (("1", "2"), 1), (("elsewhere",), None), (('"\n',), None)]
)
async def test_revisions(site: Site, tmp_path: Path, ids: tuple[str, ...], behind: int | None) -> None:
    await version(site, *ids)
    target = site.target(migrations={"scripts": str(scripts(tmp_path))})
    found = await collected(SchemaCollector, target)
    assert found["custode_schema_revisions"] == {(site.database,): len(ids)}
    assert set(found.get(INFO, {})) == {(site.database, id_) for id_ in ids}
    assert found[BEHIND] == ({} if behind is None else {(site.database,): behind})
    assert target.failures == {}


async def test_without_scripts_nobody_knows_how_far_behind(site: Site) -> None:
    await version(site, "1")
    found = await collected(SchemaCollector, site.target())
    assert found["custode_schema_revisions"] == {(site.database,): 1}
    assert found[BEHIND] == {}


async def test_new_scripts_count_at_once_and_broken_ones_are_a_failure(site: Site, tmp_path: Path) -> None:
    await version(site, "3")
    environment = site.environment(migrations={"scripts": str(scripts(tmp_path))})
    collector = SchemaCollector(SchemaCollector.Options())

    async def behind() -> tuple[object, set[str]]:
        target = site.make_target(environment)
        rows = await collector.collect(target)
        return rows[1].records[0][2], set(target.failures)

    assert await behind() == (0, set())
    (tmp_path / "4.py").write_text("revision = '4'\ndown_revision = '3'\n")
    assert await behind() == (1, set())
    (tmp_path / "5.py").write_text("revision = (")
    assert await behind() == (None, {"migrations.scripts"})
    assert await behind() == (None, {"migrations.scripts"})


async def test_the_version_table_may_be_elsewhere(site: Site) -> None:
    await site.sql.execute(f'create schema "my app"; grant usage on schema "my app" to {WATCHER}')
    await site.sql.execute('create table "my app"."ver sions" (version_num text)')
    await site.sql.copy_records_to_table("ver sions", schema_name="my app", records=[("7",)])
    settings = {"version_table": "my app.ver sions"}
    target = site.target(migrations=settings)
    assert (await collected(SchemaCollector, target)).get(INFO, {}) == {}
    assert set(target.gaps) == {f"{site.database}.my app.ver sions"}
    await site.sql.execute(f'grant select on all tables in schema "my app" to {WATCHER}')
    found: Samples = await collected(SchemaCollector, site.target(migrations=settings))
    assert set(found[INFO]) == {(site.database, "7")}


@pytest.fixture
async def reference(site: Site) -> AsyncIterator[tuple[Target, asyncpg.Connection]]:
    """The reference environment: another database of the same server, with BASE, as `site` has; and its superuser."""
    name = f"{site.database}_ref"
    await site.sql.execute(f"create database {name}")
    connection = await asyncpg.connect(site.server.dsn(name))
    for sql in (site.sql, connection):
        await run(sql, *BASE, "create table alembic_version (version_num varchar(32))")
        await run(sql, f"grant select on alembic_version to {WATCHER}")
    dsn = SecretText(site.server.dsn(name, WATCHER))
    yield site.target(name="production", dsn=dsn, databases=(name,)), connection
    await connection.close()
    await site.sql.execute(f"drop database {name} with (force)")


async def compared(site: Site, reference: Target, **fields: Any) -> tuple[Samples, Target]:
    target = replace(site.make_target(site.environment(**fields)), reference=reference)
    return await collected(SchemaCollector, target), target


async def test_differences_to_the_reference_by_kind(site: Site, reference: tuple[Target, asyncpg.Connection]) -> None:
    other, sql = reference
    found, target = await compared(site, other)
    assert found[MATCHES] == {(site.database,): 1}
    assert found.get(DIFFERENCES, {}) == {}
    await run(sql, *TABLES, "create extension unaccent")
    await run(site.sql, "alter table authors add column x int", "alter sequence counter rename to numbers")
    found, target = await compared(site, other)
    assert found[MATCHES] == {(site.database,): 0}
    assert found[DIFFERENCES] == {
        (site.database, "column", "extra"): 1,
        (site.database, "extension", "missing"): 1,
        (site.database, "sequence", "renamed"): 1,
        (site.database, "table", "missing"): 3,
    }
    ignore = ("column:public.authors.x", "sequence:*", "table:public.*s", "table:*.events_*")
    found, target = await compared(site, other, migrations={"ignore": ignore})
    assert found[DIFFERENCES] == {(site.database, "extension", "missing"): 1}
    assert found[MATCHES] == {(site.database,): 1}
    assert target.failures == {}


async def test_who_may_differ_is_not_compared(site: Site, reference: tuple[Target, asyncpg.Connection]) -> None:
    found, _ = await compared(site, reference[0], policy={"same_schema": False})
    assert found.get(MATCHES, {}) == {}


async def test_a_reference_that_cannot_be_read_is_a_gap(
    site: Site, reference: tuple[Target, asyncpg.Connection]
) -> None:
    away = site.target(name="production", dsn=SecretText("postgresql://custode_watcher@127.0.0.1:1/away"))
    found, target = await compared(site, away)
    assert found.get(MATCHES, {}) == {}
    assert len(found[FINGERPRINT]) == 1
    assert (set(target.gaps), target.failures) == ({"schema of production"}, {})
    other, sql = reference
    await run(sql, *TABLES)
    async with sql.transaction():
        await sql.execute("lock table books in access exclusive mode")
        found, target = await compared(site, other)
    assert found.get(MATCHES, {}) == {}
    assert (set(target.gaps), target.failures) == ({"schema of production"}, {})


@pytest.mark.parametrize("where", ["here", "there"])
async def test_a_migration_on_its_way_is_no_difference(
    site: Site, reference: tuple[Target, asyncpg.Connection], where: str
) -> None:
    other, sql = reference
    await run(sql, "create table t (a int)")
    (theirs,) = other.environment.databases or ()
    migrating = await asyncpg.connect(site.server.dsn(site.database if where == "here" else theirs))
    transaction = migrating.transaction()
    await transaction.start()
    await migrating.execute("insert into alembic_version values ('b')")
    found, _ = await compared(site, other)
    assert found.get(MATCHES, {}) == {}
    assert found.get(DIFFERENCES, {}) == {}
    assert found[MIGRATING] == {(site.database,): int(where == "here")}
    await transaction.rollback()
    await migrating.close()
    found, _ = await compared(site, other)
    assert found[DIFFERENCES] == {(site.database, "table", "missing"): 1}


async def test_revisions_that_are_ahead_or_unknown(
    site: Site, reference: tuple[Target, asyncpg.Connection], tmp_path: Path
) -> None:
    other, sql = reference
    await run(site.sql, "insert into alembic_version values ('3')")
    await run(sql, "insert into alembic_version values ('1')")
    settings = {"scripts": str(scripts(tmp_path))}
    found, _ = await compared(site, other, migrations=settings)
    assert found["custode_schema_revisions_ahead"] == {(site.database,): 2}
    assert found["custode_schema_revisions_unknown"] == {(site.database,): 0}
    await run(site.sql, "update alembic_version set version_num = 'elsewhere'")
    found, _ = await compared(site, other, migrations=settings)
    assert found["custode_schema_revisions_ahead"] == {}
    assert found["custode_schema_revisions_unknown"] == {(site.database,): 1}


@pytest.mark.parametrize(
    ("ours", "theirs", "pairs"),
    [
        (["app"], ["prod"], {"app": "prod"}),
        (["app", "postgres"], ["postgres", "prod"], {"app": "prod", "postgres": "postgres"}),
        (["a", "b"], ["b"], {"b": "b"}),
        (["a", "b"], ["c", "d"], {}),
        (["a"], [], {}),
    ],
)
def test_which_database_has_to_match_which(ours: list[str], theirs: list[str], pairs: dict[str, str]) -> None:
    assert counterparts(ours, theirs) == pairs


ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine

with create_engine(os.environ["DATABASE_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@EMBEDDED_ONLY
async def test_what_the_scripts_make_is_compared_at_the_revisions_here(site: Site, tmp_path: Path) -> None:
    versions = tmp_path / "alembic" / "versions"
    versions.mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    (tmp_path / "alembic" / "env.py").write_text(ENV_PY)
    for number, statement in enumerate(("create table t (a int)", "create table u (a vector(3))"), 1):
        down = repr(str(number - 1)) if number > 1 else None
        (versions / f"{number}.py").write_text(
            f"from alembic import op\nrevision = '{number}'\ndown_revision = {down}\n"
            f"def upgrade():\n    op.execute({statement!r})\n"
        )
    await run(
        site.sql,
        "create extension vector",
        "create table alembic_version (version_num varchar(32) not null constraint alembic_version_pkc primary key)",
        f"grant select on alembic_version to {WATCHER}",
        "insert into alembic_version values ('1')",
        "create table t (a int)",
    )
    settings = {
        "scripts": str(versions),
        "directory": str(tmp_path),
        "command": (sys.executable, "-m", "alembic"),
        "url_scheme": "postgresql+psycopg",
    }
    environment, collector = site.environment(migrations=settings), SchemaCollector(SchemaCollector.Options())

    async def found() -> tuple[Samples, dict[str, Exception]]:
        target = site.make_target(environment)
        return samples(await collector.collect(target)), target.failures

    first, failures = await found()
    assert failures == {}
    assert first["custode_schema_matches_scripts"] == {(site.database,): 1}
    # every migration is applied, says the version table
    await run(site.sql, "update alembic_version set version_num = '2'", "drop table t")
    second, failures = await found()
    assert failures == {}
    assert second["custode_schema_matches_scripts"] == {(site.database,): 0}
    assert second["custode_schema_script_differences"] == {(site.database, "table", "missing"): 2}
    (versions / "2.py").write_text((versions / "2.py").read_text().replace("create table", "create tabel"))
    third, failures = await found()
    assert third["custode_schema_matches_scripts"] == {}
    assert set(failures) == {f"{site.database} by the scripts"}
    assert "syntax error" in str(failures[f"{site.database} by the scripts"])
