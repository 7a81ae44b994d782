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
from tests.integration.schema_texts import (
    BASE,
    FINGERPRINT,
    INFO,
    MIGRATING,
    OBJECTS,
    REST,
    TABLES,
    run,
    scripts,
)
from tests.integration.sites import WATCHER, Site, collected


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
