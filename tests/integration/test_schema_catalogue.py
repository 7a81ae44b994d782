"""The catalogue of a real server: complete, canonical, without heavy locks; and SQL that removes what differs."""

import asyncio

import asyncpg
import pytest

from fleet.embedded import EmbeddedServer
from fleet.schema import Catalogue, compare, read_catalogue, read_flight, render, suggest, tally
from tests.integration.debian_server import DebianServer
from tests.integration.sites import EMBEDDED_ONLY, Site

SCHEMA = (
    "create schema app",
    "create type app.mood as enum ('sad', 'ok')",
    "create type app.pair as (a int, b text)",
    "create type app.span as range (subtype = float8)",
    "create domain app.positive as int default 1 constraint above_0 check (value > 0)",
    "create sequence app.counter start 5",
    "create function app.twice(i int) returns int language sql immutable as 'select i * 2'",
    "create function app.touch() returns trigger language plpgsql as 'begin return new; end'",
    "create procedure app.nothing() language sql as 'select 1'",
    "create aggregate app.total(int) (sfunc = int4pl, stype = int, initcond = '0')",
    "create text search configuration app.it (copy = italian)",
    "create text search dictionary app.words (template = simple, accept = false)",
    "create table app.authors (id bigint generated always as identity primary key, name text not null, unique (name))",
    """create table app.books (id serial primary key, author bigint references app.authors on delete cascade,
       m app.mood default 'ok', p app.positive, at timestamptz default '2026-01-01 12:00+02', words text collate "C",
       twice int generated always as (id * 2) stored, during int4range, check (p < 100),
       exclude using gist (during with &&))""",
    "create table app.events (at date not null, what text, primary key (at)) partition by range (at)",
    "create table app.events_2026 partition of app.events for values from ('2026-01-01') to ('2027-01-01')",
    "create unlogged table app.cache (k text)",
    "create index books_words on app.books (lower(words) desc) where p > 1",
    "create unique index books_pair on app.books (author, m) include (at) with (fillfactor = 70)",
    "create index books_twice on app.books (twice)",
    "create index on app.events (what)",
    "create view app.recent with (security_barrier) as select id, words from app.books where at > '2026-01-01'",
    "create view app.newest as select id from app.recent",
    "create materialized view app.counted as select m, count(*) from app.books group by m",
    "create index counted_m on app.counted (m)",
    "create trigger touched before update on app.books for each row execute function app.touch()",
    "create rule quiet as on delete to app.cache do instead nothing",
    "alter table app.books enable row level security",
    "create policy mine on app.books for select using (p > 0)",
    "create statistics app.both_columns on m, p from app.books",
)
# one change each, and what it has to be told as
CHANGES = {
    "create schema more": {("schema", "extra"): 1},
    "alter type app.mood add value 'happy' before 'ok'": {("type", "changed"): 1},
    "alter type app.mood rename value 'sad' to 'glad'": {("type", "changed"): 1},
    "alter type app.pair add attribute c int": {("type", "changed"): 1},
    "alter domain app.positive set default 2": {("type", "changed"): 1},
    "alter domain app.positive drop constraint above_0": {("type", "changed"): 1},
    "alter domain app.positive set not null": {("type", "changed"): 1},
    "drop type app.span": {("type", "missing"): 1},
    "alter sequence app.counter increment 2 cache 5": {("sequence", "changed"): 1},
    "alter sequence app.counter rename to numbers": {("sequence", "renamed"): 1},
    "alter sequence app.books_id_seq owned by none": {("sequence", "changed"): 1},
    "create or replace function app.twice(i int) returns int language sql as 'select i + i'": {
        ("function", "changed"): 1
    },
    "drop function app.twice; create function app.twice(j int) returns bigint language sql as 'select 2::bigint'": {
        ("function", "changed"): 1
    },
    "alter function app.twice rename to double": {("function", "renamed"): 1},
    "drop procedure app.nothing": {("function", "missing"): 1},
    "drop aggregate app.total(int)": {("aggregate", "missing"): 1},
    "alter text search configuration app.it drop mapping for url": {("text_search", "changed"): 1},
    "drop text search dictionary app.words": {("text_search", "missing"): 1},
    "drop table app.cache": {("table", "missing"): 1},
    "drop table app.authors cascade": {("constraint", "missing"): 1, ("table", "missing"): 1},
    "create table app.more (id serial primary key, x text default 'a\\b''c')": {("table", "extra"): 1},
    "alter table app.cache rename to caches": {("table", "renamed"): 1},
    "alter table app.authors rename to writers": {("table", "renamed"): 1},
    "alter table app.cache set logged": {("table", "changed"): 1},
    "alter table app.books disable row level security": {("table", "changed"): 1},
    "alter table app.books force row level security": {("table", "changed"): 1},
    "alter table app.events detach partition app.events_2026": None,
    "alter table app.books add column x text[] not null default '{}'": {("column", "extra"): 1},
    "alter table app.authors drop column name": {("column", "missing"): 1, ("constraint", "missing"): 1},
    "alter table app.authors rename name to full_name": {("column", "renamed"): 1},
    "alter table app.books alter words set not null": {("column", "changed"): 1},
    "alter table app.books alter m set default 'sad'": {("column", "changed"): 1},
    "alter table app.books alter m drop default": {("column", "changed"): 1},
    "alter table app.authors alter name type varchar(9)": {("column", "changed"): 1},
    "alter table app.authors alter id drop identity": {("column", "changed"): 1},
    "alter table app.authors alter id set generated by default set start 7": {("column", "changed"): 1},
    "alter table app.books drop column twice; alter table app.books add twice int": {
        ("column", "changed"): 1,
        ("index", "missing"): 1,
    },
    "alter table app.books drop constraint books_p_check": {("constraint", "missing"): 1},
    "alter table app.books drop constraint books_author_fkey;"
    "alter table app.books add constraint books_author_fkey foreign key (author) references app.authors": {
        ("constraint", "changed"): 1
    },
    "alter table app.books rename constraint books_p_check to below_100": {("constraint", "renamed"): 1},
    "alter table app.authors add constraint positive check (id > 0) not valid": {("constraint", "extra"): 1},
    "drop index app.books_words": {("index", "missing"): 1},
    "create index on app.books (words)": {("index", "extra"): 1},
    "alter index app.books_words rename to words_of_books": {("index", "renamed"): 1},
    "alter index app.books_pair set (fillfactor = 80)": {("index", "changed"): 1},
    "drop index app.books_pair; create index books_pair on app.books (author, m) with (fillfactor = 70)": {
        ("index", "changed"): 1
    },
    "drop index app.events_what_idx": {("index", "missing"): 1},
    "create or replace view app.recent with (security_barrier) as select id, words from app.books where p > 2": {
        ("view", "changed"): 1
    },
    "alter view app.recent reset (security_barrier)": {("view", "changed"): 1},
    "drop view app.newest": {("view", "missing"): 1},
    "drop materialized view app.counted": {("materialized_view", "missing"): 1},
    "alter materialized view app.counted rename to counts": {("materialized_view", "renamed"): 1},
    "alter table app.books disable trigger touched": {("trigger", "changed"): 1},
    "drop trigger touched on app.books": {("trigger", "missing"): 1},
    "drop rule quiet on app.cache": {("rule", "missing"): 1},
    "alter policy mine on app.books using (p > 1)": {("policy", "changed"): 1},
    "alter policy mine on app.books rename to yours": {("policy", "renamed"): 1},
    "drop statistics app.both_columns": {("statistics", "missing"): 1},
}


async def build(sql: asyncpg.Connection, *statements: str) -> None:
    for statement in statements:
        await sql.execute(statement)


@pytest.fixture
async def wanted(site: Site) -> Catalogue:
    """The catalogue of SCHEMA, which is what `site` has."""
    await build(site.sql, *SCHEMA)
    return await read_catalogue(site.sql)


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_named_and_the_suggested_sql_takes_it_back(
    site: Site, wanted: Catalogue, change: str
) -> None:
    await site.sql.execute(change)
    actual = await read_catalogue(site.sql)
    found = compare(actual, wanted)
    if CHANGES[change] is not None:
        assert tally(found) == CHANGES[change], render(found)
    assert found
    assert actual.fingerprint != wanted.fingerprint
    await build(site.sql, *suggest(found, wanted))
    again = await read_catalogue(site.sql)
    assert render(compare(again, wanted)) == ""
    assert again.fingerprint == wanted.fingerprint


@pytest.mark.peer
async def test_servers_of_two_major_versions_compare_equal(server: EmbeddedServer, debian: DebianServer) -> None:
    found: list[Catalogue] = []
    for one in (server, debian):
        admin = await asyncpg.connect(one.dsn())
        await admin.execute("create database two_majors")
        sql = await asyncpg.connect(one.dsn("two_majors"))
        await build(sql, *SCHEMA)
        found.append(await read_catalogue(sql))
        await sql.close()
        await admin.execute("drop database two_majors with (force)")
        await admin.close()
    new, old = found
    assert (new.version, old.version) == (18, 15)
    assert render(compare(new, old)) == ""
    assert render(compare(old, new)) == ""


async def test_everything_can_be_made_and_be_taken_away(site: Site) -> None:
    empty = await read_catalogue(site.sql)
    await build(site.sql, *SCHEMA)
    full = await read_catalogue(site.sql)
    await build(site.sql, *suggest(compare(full, empty), empty))
    assert await read_catalogue(site.sql) == empty
    await build(site.sql, *suggest(compare(empty, full), full))
    assert render(compare(await read_catalogue(site.sql), full)) == ""
    assert (await read_catalogue(site.sql)).fingerprint == full.fingerprint


async def test_no_lock_is_above_access_share_and_none_is_kept(site: Site, wanted: Catalogue) -> None:
    modes = "select distinct mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"
    async with site.sql.transaction(isolation="repeatable_read", readonly=True):
        assert await read_catalogue(site.sql) == wanted
        assert [record["mode"] for record in await site.sql.fetch(modes)] == ["AccessShareLock"]
    assert await site.sql.fetchval("show search_path") == '"$user", public'


async def test_a_locked_table_is_told_and_not_waited_for_long(site: Site, wanted: Catalogue) -> None:
    other = await site.connect()
    async with other.transaction(), asyncio.timeout(60):
        await other.execute("lock table app.books in access exclusive mode")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await read_catalogue(site.sql)
    await other.close()
    assert await read_catalogue(site.sql) == wanted


async def test_comments_and_grants_are_read_where_they_are_asked_for(site: Site) -> None:
    await build(site.sql, *SCHEMA)
    before = await read_catalogue(site.sql, comments=True, grants=True)
    await build(
        site.sql,
        "comment on table app.books is 'it''s a \\ table'",
        "comment on column app.books.words is 'words'",
        "comment on constraint books_p_check on app.books is 'below'",
        "comment on function app.twice(int) is 'twice'",
        "comment on materialized view app.counted is 'm'",
        "comment on text search configuration app.it is 'italian'",
        "comment on index app.books_words is 'index'",
        "grant select, insert on app.books to pg_monitor",
        "grant usage on schema app to public",
        "grant usage on sequence app.counter to pg_monitor with grant option",
        "revoke execute on function app.twice from public",
    )
    after = await read_catalogue(site.sql, comments=True, grants=True)
    assert after.fingerprint == before.fingerprint
    assert compare(await read_catalogue(site.sql), await read_catalogue(site.sql)) == []
    found = compare(before, after)
    assert tally(found) == {("comment", "missing"): 7, ("grant", "missing"): 3}
    back = suggest(compare(after, before), before)
    await build(site.sql, *back)
    assert render(compare(await read_catalogue(site.sql, comments=True, grants=True), before)) == ""
    await build(site.sql, *suggest(found, after))
    assert render(compare(await read_catalogue(site.sql, comments=True, grants=True), after)) == ""


async def test_hostile_names_come_back_as_they_were(site: Site) -> None:
    name = await site.sql.fetchval("select quote_ident($1)", "a\"b'c\n<x> USING y(z) WITH ( è %I $1 . -- ")
    empty = await read_catalogue(site.sql)
    await build(
        site.sql,
        f"create schema {name}",
        f"create table {name}.{name} ({name} text default 'it''s' check ({name} <> 'x'))",
        f"create index {name[:-1]}i\" on {name}.{name} using hash ({name}) with (fillfactor = 50) where {name} > 'a'",
        f"create view {name}.v as table {name}.{name}",
    )
    full = await read_catalogue(site.sql)
    (index,) = (one for one in full.objects if one.kind == "index")
    assert index.definition["definition"] == f"USING hash ({name})"
    assert index.definition["options"] == "fillfactor=50"
    await site.sql.execute(f"drop schema {name} cascade")
    await build(site.sql, *suggest(compare(empty, full), full))
    assert render(compare(await read_catalogue(site.sql), full)) == ""


@EMBEDDED_ONLY
async def test_vector_indexes_compare_by_what_they_are(site: Site) -> None:
    await build(
        site.sql,
        "create extension vector",
        "create table chunks (id int, e vector(8), h halfvec(8))",
        "create index plain on chunks using hnsw (e vector_l2_ops)",
        "create index lists on chunks using ivfflat (e vector_cosine_ops) with (lists = 50)",
        "create index halves on chunks using hnsw ((e::halfvec(8)) halfvec_l2_ops) with (ef_construction = 32, m = 8)",
    )
    before = await read_catalogue(site.sql)
    definitions = {one.name: dict(one.definition) for one in before.objects if one.kind == "index"}
    assert definitions == {
        "public.plain": {"definition": "USING hnsw (e public.vector_l2_ops)"},
        "public.lists": {"definition": "USING ivfflat (e public.vector_cosine_ops)", "options": "lists=50"},
        "public.halves": {
            "definition": "USING hnsw (((e)::public.halfvec(8)) public.halfvec_l2_ops)",
            "options": "ef_construction=32, m=8",
        },
    }
    # pgvector's defaults said aloud, in another order
    await build(
        site.sql,
        "drop index plain; create index plain on chunks using hnsw (e vector_l2_ops) with (ef_construction=64, m=16)",
    )
    assert compare(await read_catalogue(site.sql), before) == []
    await build(
        site.sql,
        "drop index lists; create index lists on chunks using ivfflat (e vector_l2_ops) with (lists = 50)",
        "drop index halves; create index halves on chunks using hnsw ((e::halfvec(8)) halfvec_l2_ops) with (m = 8)",
        "alter table chunks alter h type halfvec(4)",
    )
    found = compare(await read_catalogue(site.sql), before)
    assert tally(found) == {("index", "changed"): 2, ("column", "changed"): 1}
    assert [one.details for one in found if one.kind == "index"] == [("options",), ("definition",)]
    await build(site.sql, *suggest(found, before))
    assert compare(await read_catalogue(site.sql), before) == []


async def test_a_migration_on_its_way_is_seen(site: Site) -> None:
    await site.sql.execute("create table alembic_version (version_num varchar(32)); create table t (a int)")
    assert await read_flight(site.sql, "alembic_version") == await read_flight(site.sql, "none.such")
    other = await site.connect()
    reader = await site.connect()
    async with reader.transaction():
        await reader.execute("select * from alembic_version")
        assert not (await read_flight(site.sql, "alembic_version")).migrating
    transaction = other.transaction()
    await transaction.start()
    await other.execute("update alembic_version set version_num = 'b'")
    assert (await read_flight(site.sql, "alembic_version")).migrating
    assert not (await read_flight(site.sql, "app.alembic_version")).migrating
    await transaction.commit()
    assert not (await read_flight(site.sql, "alembic_version")).migrating
    await other.close()
    await reader.close()


async def test_a_build_on_its_way_is_seen_and_no_part_of_the_schema(site: Site) -> None:
    await site.sql.execute("create table t (a int)")
    before = await read_catalogue(site.sql)
    holder, builder = await site.connect(), await site.connect()
    async with asyncio.TaskGroup() as group:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("insert into t values (1)")  # the build waits for whoever writes
        build_ = group.create_task(builder.execute("create index concurrently t_a on t (a)"))
        async with asyncio.timeout(20):
            while not (await read_flight(site.sql, "alembic_version")).building:  # noqa: ASYNC110 - the server's progress
                await asyncio.sleep(0.01)
        assert (await read_flight(site.sql, "alembic_version")).building == {"public.t"}
        assert await read_catalogue(site.sql) == before
        await transaction.commit()
        await build_
    assert tally(compare(await read_catalogue(site.sql), before)) == {("index", "extra"): 1}
    await holder.close()
    await builder.close()
