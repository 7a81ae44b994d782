"""Snapshots in chunks: what they hold, and how little the next one reads and stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Literal

import asyncpg
import pytest

from fleet.backups.chunks import Chunks
from fleet.backups.index import BINARY_HEADER, encode_index
from fleet.backups.libpq import client_environment, connection_parameters
from fleet.backups.manifest import INDEXES
from fleet.backups.session import open_session
from fleet.backups.tables import large_tables
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import ActionError, ProcessError
from tests.integration.snapshots import Snapshots, copy_of

ODD = """
    create type mood as enum ('sad', 'ok');
    create type pair as (a int, b text);
    create domain short as varchar(8) check (value <> 'no');
    create extension if not exists hstore;
    create schema "odd "" schema";
    create table "odd "" schema"."ta ble" (
        id bigint generated always as identity primary key,
        "col ""umn" text, doubled int generated always as (1 + 1) stored,
        m mood, s short, h hstore, v vector(3), f float8, n numeric, r int4range, a int[], j jsonb, b bytea,
        t timestamptz
    );
    insert into "odd "" schema"."ta ble" ("col ""umn", m, s, h, v, f, n, r, a, j, b, t)
        select repeat('x', i % 50), 'ok', 'yes', 'a=>1', '[1,2,3]', i / 3.0, i / 7.0, '[1,5)', array[i, null],
            '{"a": [1, null]}', '\\x00ff', now() from generate_series(1, 900) i;
    alter table "odd "" schema"."ta ble" drop column b;
    create table by_text (id int, p pair, moods mood[], c regclass);
    insert into by_text select i, row(i, E'a\\tb\\n\\\\.')::pair, '{sad,ok}', 'pg_class' from generate_series(1, 500) i;
    create table parted (id int, at date) partition by range (at);
    create table parted_2025 partition of parted for values from ('2025-01-01') to ('2026-01-01');
    create table parted_2026 partition of parted for values from ('2026-01-01') to ('2027-01-01');
    insert into parted select i, date '2025-06-01' + i from generate_series(1, 400) i;
    create table parent (id int);
    create table child (more text) inherits (parent);
    insert into parent select i from generate_series(1, 10) i;
    insert into child select i, 'x' from generate_series(11, 15) i;
    create table nothing_in_it (id int);
    create table no_columns ();
    insert into no_columns select from generate_series(1, 3);
    create unlogged table unlogged_one as select 1 as id;
"""
ODD_QUERY = 'select id, "col ""umn", m, s, h, v, f, n, r, a, j, t from "odd "" schema"."ta ble"'
BIG = """
    create table big (id int primary key, item int, body text, v vector(64));
    insert into big select i, i / 10, repeat(md5(i::text), 20), array_fill(i::real, array[64])::vector
        from generate_series(1, 6000) i;
"""


async def copied(sql: asyncpg.Connection, query: str, format_: Literal["binary", "text"]) -> bytes:
    into = BytesIO()
    await sql.copy_from_query(query, output=into, format=format_)
    content = into.getvalue()
    return content[len(BINARY_HEADER) : -2] if format_ == "binary" else content


async def test_every_kind_of_table_is_copied_as_copy_gives_it(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(ODD)
    snapshot = await snapshots.take()
    expected: dict[str, tuple[str, Literal["binary", "text"], int]] = {
        "ta ble": (ODD_QUERY, "binary", 900),
        "by_text": ("select id, p, moods, c from by_text", "text", 500),
        "parted_2025": ("select * from parted_2025", "binary", 213),
        "parted_2026": ("select * from parted_2026", "binary", 187),
        "parent": ("select * from only parent", "binary", 10),
        "child": ("select * from child", "binary", 5),
        "nothing_in_it": ("select * from nothing_in_it", "binary", 0),
        "unlogged_one": ("select * from unlogged_one", "binary", 1),
    }
    assert {copy.name for copy in snapshot.copies} == set(expected), "no_columns is left to pg_dump"
    for name, (query, format_, rows) in expected.items():
        copy = copy_of(snapshot, name)
        assert (copy.rows, (await snapshots.index(copy)).format) == (rows, format_), name
        assert await snapshots.rows(copy) == await copied(sql, query, format_), name
    pre_data = await snapshots.sql(snapshot.pre_data)
    data = await snapshots.sql(snapshot.data)
    assert "CREATE TABLE public.parted" in pre_data
    assert "restrict" not in pre_data
    assert "COPY public.no_columns" in data
    assert "COPY public.by_text" not in data
    assert "setval" in data


async def test_small_tables_are_left_to_pg_dump(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(BIG + "create table small as select 1 as id")
    snapshot = await snapshots.take(least_bytes=1 << 20)
    assert [copy.name for copy in snapshot.copies] == ["big"]
    data = await snapshots.sql(snapshot.data)
    assert "COPY public.small" in data
    assert "COPY public.big" not in data


async def test_what_has_not_changed_is_neither_read_nor_stored_again(
    snapshots: Snapshots, sql: asyncpg.Connection
) -> None:
    await sql.execute(BIG)
    first = await snapshots.take()
    assert first.fingerprint == (second := await snapshots.take()).fingerprint
    assert snapshots.writer.read_bytes == 0
    assert snapshots.writer.pool.added_bytes == 0
    assert second.model_copy(update={"xid": first.xid}) == first

    await sql.execute("update big set body = 'new' where item = 77")
    third = await snapshots.take()
    assert 0 < snapshots.writer.read_bytes < 0.2 * copy_of(third, "big").plain_bytes
    assert await snapshots.rows(copy_of(third, "big")) == await copied(sql, "select * from big", "binary")
    assert await snapshots.rows(copy_of(first, "big")) != await snapshots.rows(copy_of(third, "big"))

    await sql.execute("delete from big where id % 1000 = 3")
    await sql.execute("vacuum big")
    await sql.execute("insert into big select i, 0, 'appended', null from generate_series(6001, 6100) i")
    fourth = await snapshots.take()
    assert await snapshots.rows(copy_of(fourth, "big")) == await copied(sql, "select * from big", "binary")
    assert copy_of(fourth, "big").rows == 6094


CHANGES = [
    "vacuum full big",
    "alter table big add column more int default 7",
    "truncate big",
    "alter table big alter column item type bigint",
    "alter table big drop column item",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changes_the_bytes_of_all_rows_is_read_anew(
    snapshots: Snapshots, sql: asyncpg.Connection, change: str
) -> None:
    await sql.execute(BIG)
    await snapshots.take()
    await sql.execute(change)
    copy = copy_of(await snapshots.take(), "big")
    assert snapshots.writer.skipped_bytes == 0
    assert await snapshots.rows(copy) == await copied(sql, "select * from big", "binary")


async def test_a_renamed_label_of_an_enum_is_seen(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(
        "create type mood as enum ('sad'); create table t as select 'sad'::mood m from generate_series(1, 50)"
    )
    await snapshots.take()
    await sql.execute("alter type mood rename value 'sad' to 'blue'")
    assert b"blue" in await snapshots.rows(copy_of(await snapshots.take(), "t"))


async def test_once_a_day_all_is_read_and_equal_chunks_are_stored_once(
    snapshots: Snapshots, sql: asyncpg.Connection
) -> None:
    await sql.execute(BIG)
    first = await snapshots.take()
    snapshots.clock += 86_401
    copy = copy_of(second := await snapshots.take(), "big")
    assert snapshots.writer.read_bytes == copy.plain_bytes
    assert snapshots.writer.skipped_bytes == 0
    assert (await snapshots.index(copy)).objects == (await snapshots.index(copy_of(first, "big"))).objects
    assert second.copies[0].chunks != first.copies[0].chunks, "it was read later"


async def test_a_shortcut_that_is_wrong_is_found_and_all_is_read(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute("create table t as select i, repeat(md5(i::text), 60) from generate_series(1, 300) i")
    first = await snapshots.take()
    copy = copy_of(first, "t")
    index = await snapshots.index(copy)
    assert len(index.chunks) <= 8, "all of them are in the sample"
    wrong = index.model_copy(update={"chunks": Chunks.of(chunk._replace(digest="0" * 32) for chunk in index.chunks)})
    encoded = encode_index(wrong)
    blob = await snapshots.pool.put(encoded, len(encoded), INDEXES)
    assert snapshots.parent is not None
    lying = first.model_copy(update={"copies": (copy.model_copy(update={"chunks": blob}),)})
    snapshots.parent = type(snapshots.parent)("x", lying, snapshots.parent.sizes)
    second = await snapshots.take()
    assert snapshots.writer.mismatches == 1
    assert snapshots.writer.read_bytes == copy.plain_bytes
    assert await snapshots.rows(copy_of(second, "t")) == await copied(sql, "select * from t", "binary")


async def test_objects_about_to_be_removed_are_not_used_again(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(BIG)
    first = await snapshots.take()
    assert snapshots.parent is not None
    old = frozenset(snapshots.parent.sizes)
    snapshots.condemned = old
    snapshots.parent = type(snapshots.parent)("x", first, snapshots.parent.sizes, old)
    second = await snapshots.take()
    assert not old & set(snapshots.writer.pool.used)
    for key in old:
        await snapshots.store.delete(key)
    assert await snapshots.rows(copy_of(second, "big")) == await copied(sql, "select * from big", "binary")
    assert "CREATE TABLE" in await snapshots.sql(second.pre_data)


async def test_an_object_that_is_mostly_dead_is_replaced(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(BIG)
    first = await snapshots.take()
    await sql.execute("update big set body = body || '!' where id > 2000")
    second = await snapshots.take()
    third = await snapshots.take()
    old = set((await snapshots.index(copy_of(first, "big"))).objects)
    assert old & set((await snapshots.index(copy_of(second, "big"))).objects)
    assert not old & set((await snapshots.index(copy_of(third, "big"))).objects)
    assert await snapshots.rows(copy_of(third, "big")) == await copied(sql, "select * from big", "binary")


async def test_rows_hidden_by_a_policy_are_a_refusal(
    snapshots: Snapshots, sql: asyncpg.Connection, database: str, log_in_as: Callable[[str], Environment]
) -> None:
    await sql.execute("""
        create table hidden as select i as id from generate_series(1, 100) i;
        alter table hidden enable row level security;
        create policy few on hidden using (id < 5)
    """)
    role = f"r_{database}"
    await sql.execute(f"create role {role} login; grant select on hidden to {role}")
    connections = Connections(log_in_as(role), snapshots.secrets)
    try:
        seen_by_role = replace(snapshots, environment=log_in_as(role), connections=connections)
        with pytest.raises((asyncpg.InsufficientPrivilegeError, ProcessError), match="row-level security"):
            await seen_by_role.take()
    finally:
        await connections.close()
        await sql.execute(f"drop owned by {role}; drop role {role}")


async def test_a_table_truncated_as_we_begin_is_told(snapshots: Snapshots, sql: asyncpg.Connection) -> None:
    await sql.execute(BIG)
    variables = await client_environment(snapshots.environment, snapshots.secrets, snapshots.database)
    parameters = connection_parameters(variables)
    async with open_session(snapshots.connections, snapshots.database, parameters, readers=1) as session:
        tables = await large_tables(session.first, 0)
        await sql.execute("truncate big")
        with pytest.raises(ActionError, match="truncated or rewritten"):
            await session.lock(tables)
