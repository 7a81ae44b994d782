"""Schemas, scripts and version tables for the tests of the collector of schemas."""

from pathlib import Path

import asyncpg

from tests.integration.sites import WATCHER, Site

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
