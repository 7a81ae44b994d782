"""Masks on a real server: its catalogue is read, its rows come out masked, and the copy holds nobody's data."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import asyncpg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from fleet.backups.bulk import Bulk
from fleet.data.classify import column_by_column, decided, propose, sample
from fleet.data.decisions import Decisions, read_table
from fleet.data.masks import Masker
from fleet.data.masks._masker import _on_copy
from fleet.data.masks._nested import Mask, in_array
from fleet.data.schema import read_tables
from fleet.data.tables import Table, find_table
from fleet.data.types import Family
from fleet.embedded import EmbeddedServer

KEY = b"k" * 32
SCHEMA = """
    create extension citext;
    create extension hstore;
    create schema crm;
    create domain mail as citext check (value like '%@%');
    create domain mails as mail[];
    create type mood as enum ('well', 'ill');
    create table people (
        id bigint generated always as identity primary key,
        email mail not null, others mails, phone varchar(20) unique, full_name text, iban text, fiscal char(16),
        born date, seen timestamptz, profile jsonb, photo bytea, ip inet, key uuid, mood mood,
        extra hstore, note text, embedding vector(3),
        search tsvector generated always as (to_tsvector('simple', coalesce(note, ''))) stored
    );
    create unique index on people (lower(email::text));
    create table crm.logs (
        id bigint, mail mail, person bigint references people, at timestamptz not null) partition by range (at);
    create table crm.logs_2025 partition of crm.logs for values from ('2025-01-01') to ('2026-01-01');
    insert into people (email, others, phone, full_name, iban, fiscal, born, seen, profile, photo, ip, key, mood, extra,
            note, embedding)
        select 'Mario' || n || '@Rossi.it', array['other' || n || '@rossi.it', null]::mails, '+39 347 ' || 1000000 + n,
            'Mario Rossi', 'IT60X0542811101000000123456', 'RSSMRA85T10A562S', '1985-12-10', '2025-05-05 12:00+02',
            jsonb_build_object('mail', 'mario@rossi.it', 'theme', 'dark', 'secret', 'Mario'), 'Mario Rossi'::bytea,
            '93.184.216.34', gen_random_uuid(), 'ill', 'name=>Mario', E'Mario\\tRossi\\nabita \\\\ qui', '[1,2,3]'
        from generate_series(1, 50) as n;
    insert into crm.logs select n, 'mario' || n || '@rossi.it', n, '2025-06-01' from generate_series(1, 50) as n;
    analyze;
"""
DECISIONS = {
    "people": {
        "id": "keep",
        "email": "mask:email",
        "others": "mask:email",
        "phone": "mask:phone",
        "full_name": "mask:name",
        "iban": "mask:iban",
        "fiscal": "mask:codice_fiscale",
        "born": "mask:date_shift",
        "seen": {"mask": "date_shift", "days": 3},
        "profile": {"mask": "json", "paths": {"mail": "mask:email", "theme": "keep"}},
        "photo": "mask:bytes",
        "ip": "mask:ip",
        "key": "mask:hash",
        "mood": {"mask": "constant", "value": "well"},
        "extra": "null",
        "note": "mask:text",
        "embedding": "regenerate",
    },
    "crm.logs": {"id": "keep", "mail": "mask:email", "person": "keep", "at": "keep"},
}


def decisions() -> Decisions:
    tables = {
        (("crm" if "." in name else "public"), name.split(".")[-1]): read_table(each)
        for name, each in DECISIONS.items()
    }
    return Decisions(tables)


@pytest.fixture
async def tables(sql: asyncpg.Connection) -> list[Table]:
    await sql.execute(SCHEMA)
    return await read_tables(sql)


async def test_the_catalogue_below_domains_arrays_and_partitions(tables: list[Table]) -> None:
    people, logs = find_table(tables, "people"), find_table(tables, "crm.logs")
    assert [table.shown for table in tables] == ["crm.logs", "people"]
    assert people is not None
    assert logs is not None
    columns = {column.name: column for column in people.columns}
    assert "search" not in columns
    assert (columns["email"].type, columns["email"].base, columns["email"].family) == ("mail", "citext", Family.TEXT)
    assert (columns["others"].array, columns["others"].base) == (True, "citext")
    assert (columns["phone"].length, columns["fiscal"].length) == (20, 16)
    assert [name for name, column in columns.items() if column.unique] == ["id", "email", "phone"]
    assert [name for name, column in columns.items() if column.not_null] == ["id", "email"]
    assert (columns["mood"].family, columns["extra"].family) == (Family.ENUM, None)
    assert (people.source, logs.source) == ("only public.people", "crm.logs")
    assert (people.rows, logs.rows) == (50, 50)
    (key,) = logs.foreign_keys
    assert (key.columns, key.parent, key.parent_columns) == (("person",), ("public", "people"), ("id",))


async def test_rows_of_another_server_are_told_of(sql: asyncpg.Connection) -> None:
    await sql.execute("""
        create extension postgres_fdw;
        create server away foreign data wrapper postgres_fdw;
        create foreign table far (a text) server away;
        create table parts (a int) partition by range (a);
        create foreign table part_far partition of parts for values from (1) to (2) server away;
        create table near (a int);
        create table child (b int) inherits (near);
    """)
    found = await read_tables(sql)
    assert {table.name: table.foreign for table in found} == {"child": False, "far": True, "near": False, "parts": True}
    everything = Decisions({table.key: read_table({"a": "keep", "b": "keep"}) for table in found})
    assert [each.table.name for each in everything.check_against(found)] == ["far", "parts"]


async def test_what_changes_in_the_schema_stops_a_refresh(sql: asyncpg.Connection, tables: list[Table]) -> None:
    assert decisions().check_against(tables) == []
    await sql.execute("""
        alter table people add column nickname text;
        alter table people alter column full_name type jsonb using to_jsonb(full_name);
        create table letters (body text);
    """)
    found = [str(each) for each in decisions().check_against(await read_tables(sql))]
    assert found == [
        "letters: nobody decided on this table",
        "people.full_name: mask:name does not fit the type jsonb",
        "people.nickname: nobody decided on this column (text)",
    ]


def _copy(dsn: str, masker: Masker, tables: list[Table]) -> None:
    """Every row out through the masks, and into an emptied copy, as a refresh does it."""
    source = Bulk({name: str(value) for name, value in conninfo_to_dict(dsn).items()})
    target = psycopg.connect(dsn)
    source.execute("begin; set client_encoding = 'UTF8'; set datestyle = 'ISO, YMD'")
    masked: dict[Table, list[bytes]] = {}
    for table in tables:
        selection = masker.select(table)
        assert selection is not None
        rows: Iterator[memoryview] = source.copy_out(selection.query, selection.format)
        masked[table] = [bytes(row) for row in masker.mask_rows(table, rows)]
    source.execute("rollback")
    source.close()
    with target, target.cursor() as cursor:
        cursor.execute("truncate people cascade")
        for table in reversed(tables):
            selection = masker.select(table)
            assert selection is not None
            with cursor.copy(f"copy {selection.into} from stdin (format {selection.format})") as copy:
                for row in masked[table]:
                    copy.write(row)
    target.close()


async def test_a_copy_through_the_masks_holds_nobodys_data(
    server: EmbeddedServer, database: str, sql: asyncpg.Connection, tables: list[Table]
) -> None:
    await asyncio.to_thread(_copy, server.dsn(database), Masker(decisions(), KEY, "qa"), tables)
    text = " ".join(record[0] for record in await sql.fetch("select people::text from people"))
    text += " ".join(record[0] for record in await sql.fetch("select logs::text from crm.logs"))
    for secret in ("ario", "ossi", "347 1", "X0542811101", "RSSMRA", "1985-12-10", "93.184", "4d6172696f", "abita"):
        assert secret not in text
    assert await sql.fetchval("select count(*) from people join crm.logs on mail = email and person = people.id") == 50
    row = await sql.fetchrow("select * from people order by id limit 1")
    assert row is not None
    assert re.fullmatch(r'{"mail": "u[a-z2-7]{16}@qa.invalid", "theme": "dark"}', row["profile"])
    assert (row["mood"], row["extra"], row["embedding"], row["others"][1]) == ("well", None, None, None)
    assert len(row["note"]) == len("Mario\tRossi\nabita \\ qui")


TEXTS = [
    "a",
    "NULL",
    "null",
    " a ",
    "",
    "{}",
    '"',
    "\\",
    "\\\\N",
    "a\tb\r\nc\v\f\b",
    "{a,b}",
    "[0:1]={a}",
    "perché ☃",
    ",",
    "\x01\x7f",
]


@pytest.mark.parametrize("type_", ["text", "text[]"])
async def test_values_are_read_and_written_as_copy_does(server: EmbeddedServer, database: str, type_: str) -> None:
    """A mask that changes nothing leaves everything as it is, whatever must be escaped."""
    same: Mask = in_array(lambda value: value) if type_ == "text[]" else lambda value: value
    with psycopg.connect(server.dsn(database)) as connection:
        connection.execute(f"create table one (id int, v {type_}); create table two (id int, v {type_})")
        for number, text in enumerate(TEXTS):
            value = text if type_ == "text" else [[text, None], ["x", text]]
            connection.execute("insert into one values (%s, %s)", (number, value))
        with connection.cursor().copy("copy one to stdout") as copy:
            fields = [bytes(row).rstrip(b"\n").split(b"\t") for row in copy]
        with connection.cursor().copy("copy two from stdin") as copy:
            for key, field in fields:
                copy.write(key + b"\t" + _on_copy(same)(field) + b"\n")
        assert connection.execute("select * from two").fetchall() == connection.execute("select * from one").fetchall()


async def test_a_proposal_for_all_that_nobody_decided_on_is_enough(
    sql: asyncpg.Connection, tables: list[Table]
) -> None:
    undecided = Decisions({}).check_against(tables)
    proposed = {}
    for one in undecided:
        columns = column_by_column(one)
        values = await sample(sql, one.table, one.table.columns)
        proposals = [propose(each, values.get(each.column.name, ())) for each in columns if each.column is not None]
        proposed[one.table.key] = decided(proposals)
    assert Decisions(proposed).check_against(tables) == []
    people = proposed["public", "people"].written()
    assert people["email"] == people["others"] == "mask:email"
    assert (people["phone"], people["full_name"], people["iban"]) == ("mask:phone", "mask:name", "mask:iban")
    assert (people["fiscal"], people["photo"], people["embedding"]) == ("mask:codice_fiscale", "mask:bytes", "null")
    assert (people["extra"], people["mood"], people["id"], people["profile"]) == ("null", "keep", "keep", "null")
    assert proposed["crm", "logs"].written()["mail"] == "mask:email"
