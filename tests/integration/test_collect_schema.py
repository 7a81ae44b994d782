"""Revisions, objects and the fingerprint: equal schemas have equal ones, however they came to be."""

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from collectors import Target
from collectors.schema import SchemaCollector
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import SecretText
from tests.integration.debian_server import DebianServer
from tests.integration.sites import WATCHER, Samples, Site, collected

INFO = "custode_schema_revision_info"
BEHIND = "custode_schema_revisions_behind"
FINGERPRINT = "custode_schema_fingerprint_info"
OBJECTS = "custode_schema_objects"

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


async def test_extensions_are_no_part_of_the_schema(site: Site) -> None:
    before = await fingerprint(site.target())
    await site.sql.execute("create extension pg_stat_statements; create extension unaccent")
    found = await collected(SchemaCollector, site.target())
    assert [value for _, value in found[FINGERPRINT]] == [before]
    assert set(found[OBJECTS].values()) == {0}


async def test_an_invalid_index_is_no_part_of_the_schema(site: Site) -> None:
    await run(site.sql, "create table t (a int)", "insert into t values (1), (1)")
    before = await collected(SchemaCollector, site.target())
    with pytest.raises(asyncpg.UniqueViolationError):
        await site.sql.execute("create unique index concurrently broken on t (a)")
    assert await collected(SchemaCollector, site.target()) == before


async def test_objects_by_kind(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST)
    found = (await collected(SchemaCollector, site.target()))[OBJECTS]
    assert {kind: count for (_, kind), count in found.items()} == {
        "table": 5,
        "column": 13,
        "index": 6,
        "constraint": 5,
        "view": 2,
        "function": 3,
        "sequence": 3,
        "trigger": 1,
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
    assert set(found[OBJECTS].values()) == {0}
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


async def test_a_locked_table_hides_only_the_fingerprint(site: Site) -> None:
    await run(site.sql, *BASE, *TABLES, *REST, f"grant select on alembic_version to {WATCHER}")
    await site.sql.execute("insert into alembic_version values ('abc')")
    target = site.target()
    async with site.sql.transaction():
        await site.sql.execute("lock table books in access exclusive mode")
        found = await collected(SchemaCollector, target)
    assert found.get(FINGERPRINT, {}) == {}
    assert set(found[INFO]) == {(site.database, "abc")}
    assert len(found[OBJECTS]) == 8
    assert isinstance(target.failures[f"{site.database} fingerprint"], asyncpg.LockNotAvailableError)


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
