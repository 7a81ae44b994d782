"""Revisions beside the scripts, and differences to the reference environment and to what the scripts make."""

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from collectors import Target
from collectors._schema_facts import counterparts
from collectors.schema import SchemaCollector
from fleet.secrets import SecretText
from tests.integration.schema_texts import (
    BASE,
    BEHIND,
    DIFFERENCES,
    FINGERPRINT,
    INFO,
    MATCHES,
    MIGRATING,
    TABLES,
    run,
    scripts,
    version,
)
from tests.integration.sites import EMBEDDED_ONLY, WATCHER, Samples, Site, collected, samples


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
