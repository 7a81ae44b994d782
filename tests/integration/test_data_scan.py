"""The scan on a real database: every type, every hiding place; and what it cannot look at is no success."""

import asyncpg
import pytest

from fleet.data.kinds import Kind
from fleet.data.scan import Finding, Options, People, read_people, scan
from tests.integration.sites import WATCHER

EMAIL = "anna.verdi@ditta.it"
# type, and an expression of it that holds EMAIL
HIDING = {
    "text": f"'{EMAIL}'",
    "varchar(99)": f"e'a\\tb\\n{EMAIL}\\\\'",
    "char(60)": f"'{EMAIL}'",
    "citext": f"'{EMAIL}'",
    "words": f"'{EMAIL}'",
    "words_of_words": f"'{EMAIL}'",
    "mood": "'x@ditta.it'",
    "json": '\'{"k": "anna\\u0040ditta.it"}\'',
    "jsonb": f"'{{\"{EMAIL}\": [1]}}'",
    "text[]": f"array['x', '{EMAIL}', null]",
    "citext[]": f"array['{EMAIL}']",
    "bytea": f"convert_to('{EMAIL}', 'UTF8')",
    "bytea[]": f"array[convert_to('{EMAIL}', 'UTF8')]",
    "pair": f"row('{EMAIL}', 1)",
    "pair[]": f"array[row('{EMAIL}', 1)::pair]",
    "hstore": f"hstore('k', '{EMAIL}')",
    "tsvector": f"to_tsvector('italian', 'il messaggio di {EMAIL}')",
    "tsquery": f"plainto_tsquery('simple', '{EMAIL}')",
    "name": f"'{EMAIL}'",
    "jsonpath": f"'$.k == \"{EMAIL}\"'",
    "span": f"textrange('{EMAIL}', null)",
}
TYPES = """
    create extension citext; create extension hstore;
    create domain words as text; create domain words_of_words as words check (length(value) < 99);
    create type mood as enum ('calm', 'x@ditta.it'); create type pair as (a text, b int);
    create type textrange as range (subtype = text); create domain span as textrange;
"""


async def found(sql: asyncpg.Connection, options: Options | None = None) -> set[tuple[str, str, str, int]]:
    """Relation, column, kind and count, in rows."""
    return {
        (each.relname, each.column, each.kind.value, each.count)
        for each in await scan(sql, options or Options())
        if each.place == "rows"
    }


@pytest.mark.parametrize("type_", HIDING)
async def test_every_type_that_can_hold_text(sql: asyncpg.Connection, type_: str) -> None:
    await sql.execute(TYPES)
    await sql.execute(f'create table "Odd "" t" (id int, "c ""%I" {type_})')
    await sql.execute(f'insert into "Odd "" t" values (1, {HIDING[type_]}), (2, null)')  # noqa: S608
    assert await found(sql) == {('Odd " t', 'c "%I', "email", 1)}


@pytest.mark.parametrize("type_", ["int8", "numeric(20, 2)", "float8"])
async def test_numbers(sql: asyncpg.Connection, type_: str) -> None:
    await sql.execute(f"create table t (c {type_}); insert into t values (3471234567), (null)")  # noqa: S608
    assert await found(sql) == {("t", "c", "phone", 1)}


async def test_values_larger_than_what_is_read_at_once(sql: asyncpg.Connection) -> None:
    await sql.execute("create table t (id int, a text, b text)")
    await sql.execute(
        "insert into t select i, repeat('niente ', case when i % 50 = 0 then 200000 else i end) || $1, $1"
        " from generate_series(1, 200) i",
        f"{EMAIL}\n",
    )
    assert await found(sql) == {("t", "a", "email", 200), ("t", "b", "email", 200)}


async def test_addresses_and_large_objects(sql: asyncpg.Connection) -> None:
    await sql.execute("create table t (c inet); insert into t values ('8.8.8.8'), ('10.1.1.1')")
    await sql.execute(f"select lo_from_bytea(0, convert_to('{EMAIL}', 'UTF8'))")
    assert await found(sql) == {("t", "c", "ip", 1), ("pg_largeobject", "data", "email", 1)}


async def test_what_is_harmless_is_left_alone(sql: asyncpg.Connection) -> None:
    await sql.execute("""
        create table t as select i as id, i::int8 * 86400000 + 1767323045123 as ms, now() + i * interval '1 s' as at,
            gen_random_uuid() as key, i / 7.0 as ratio, (i / 7.0)::float8 as part, md5(i::text) as hash,
            array[i / 3.0, i / 7.0]::float8[] as parts, jsonb_build_object('at', now(), 'x', i / 7.0) as j,
            format('[%s,%s]', i / 3.0, i / 7.0)::vector as e, 'n. ' || i || ' del 01/02/2020' as note
        from generate_series(1, 3000) i""")
    await sql.execute("analyze t")
    assert await scan(sql, Options()) == []


async def test_partitions_children_views_and_generated_columns(sql: asyncpg.Connection) -> None:
    await sql.execute(f"""
        create table parts (id int, c text) partition by list (id);
        create table part partition of parts for values in (1);
        insert into parts values (1, '{EMAIL}');
        create table parent (c text); create table child () inherits (parent);
        insert into child values ('{EMAIL}');
        create unlogged table made (a text, b text generated always as (a || '@ditta.it') stored);
        insert into made values ('anna');
        create materialized view seen as select c from child;
        create materialized view unseen as select c from child with no data;
        create schema "Other"; create table "Other".t (c text); insert into "Other".t values ('{EMAIL}')
    """)  # noqa: S608
    places = {("part", "c"), ("child", "c"), ("made", "b"), ("seen", "c"), ("t", "c")}
    assert await found(sql) == {(*place, "email", 1) for place in places}


async def test_statistics_remember_rows_that_are_gone(sql: asyncpg.Connection) -> None:
    await sql.execute(f"""
        create table t (c text, a text[]); create index by_domain on t ((lower(c) || '!'));
        create statistics pairs (mcv) on c, a from t;
        insert into t select '{EMAIL}', array['{EMAIL}'] from generate_series(1, 100);
        analyze t; delete from t
    """)  # noqa: S608
    places = {(each.relname, each.column, each.place) for each in await scan(sql, Options())}
    statistics = {("t", "c"), ("t", "a"), ("by_domain", "expr"), ("t", "pairs")}
    assert places == {(*place, "statistics") for place in statistics}


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        (f"comment on table t is '{EMAIL}'", ("public", "t", "comment")),
        (f"comment on column t.c is '{EMAIL}'", ("public", "t", "comment")),
        (f"alter table t alter c set default '{EMAIL}'", ("public", "t", "c")),
        (f"alter table t add constraint k check (c <> '{EMAIL}')", ("public", "t", "k")),
        (f"create view v as select * from t where c = '{EMAIL}'", ("public", "v", "definition")),  # noqa: S608
        (f"create index i on t (id) where c = '{EMAIL}'", ("public", "i", "definition")),
        (f"create function f() returns text language sql as $$ select '{EMAIL}' $$", ("public", "f", "source")),
        (f"create policy p on t using (c = '{EMAIL}')", ("public", "t", "p")),
        ("create type mood as enum ('x@ditta.it')", ("public", "mood", "label")),
        (f"create domain d as text default '{EMAIL}'", ("public", "d", "domain")),
        (
            f"create table l (c text) partition by list (c); create table m partition of l for values in ('{EMAIL}')",
            ("public", "m", "partition bound"),
        ),
    ],
)
async def test_definitions(sql: asyncpg.Connection, statement: str, place: tuple[str, str, str]) -> None:
    await sql.execute("create table t (id int, c text)")
    await sql.execute(statement)
    findings = await scan(sql, Options())
    assert Finding(*place, Kind.EMAIL, 1, "catalogue") in findings
    assert {each.place for each in findings} == {"catalogue"}


@pytest.fixture
async def people(sql: asyncpg.Connection) -> People:
    await sql.execute("""
        create schema prod;
        create table prod.users (id int, full_name text, email text, phone text);
        create table prod.clients (first_name text, "lastName" text, surname text, notes text);
        create table prod.words (word text);
        insert into prod.users values (1, 'Nicolò De Angelis', 'nico@studio.example', '347 1234567'),
            (2, null, null, null), (3, 'Cher', '', '');
        insert into prod.clients values ('Anna', null, 'Verdi', 'CF RSSMRA80A01H501U');
        insert into prod.words values ('Rosa Bianchi')
    """)
    known = await read_people(sql)
    await sql.execute("drop schema prod cascade")
    return known


async def test_the_users_of_production(sql: asyncpg.Connection, people: People) -> None:
    await sql.execute("""
        create table t (c text, s tsvector);
        insert into t values ('de angelis nicolò'), ('ANNA VERDI'), ('Rosa Bianchi'), ('Cher Verdi'),
            ('scrivi a nico@studio.example'), ('altri@studio.example');
        insert into t (s) values (to_tsvector('italian', 'la signora Anna Verdi di Roma'))
    """)
    assert await found(sql, Options(people=people)) == {
        ("t", "c", "name", 2),
        ("t", "c", "email", 1),
        ("t", "s", "name", 1),
    }
    everything = frozenset(set(Kind) - {Kind.NAME})
    published = {("public", "t", "c"): everything}
    await sql.execute("insert into t values ('347.1234567'), ('RSSMRA80A01H501U'), ('info@ditta.it'), ('06 12345678')")
    assert await found(sql, Options(people=people, published=published)) == {
        ("t", "c", "name", 2),
        ("t", "c", "email", 1),
        ("t", "c", "phone", 1),
        ("t", "c", "codice_fiscale", 1),
        ("t", "s", "name", 1),
    }


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("first_name", "last_name"), {("t", "first_name", "name", 4)}),
        (("last_name", "first_name"), {("t", "last_name", "name", 3), ("t", "first_name", "name", 1)}),
        (("last_name", "phone", "first_name"), {("t", "last_name", "name", 3), ("t", "first_name", "name", 1)}),
    ],
)
async def test_a_name_is_read_across_the_columns_of_a_row(
    sql: asyncpg.Connection, people: People, columns: tuple[str, ...], expected: set[tuple[str, str, str, int]]
) -> None:
    await sql.execute(f"create table t (id int, {' text, '.join(columns)} text, note text)")
    await sql.execute("""
        insert into t (first_name, last_name, note) values ('Anna', 'Verdi', 'x'), ('NICOLÒ', 'de Angelis', ''),
            ('Anna', 'Angelis', 'Verdini'), ('Anna', null, null), ('Anna Verdi', 'Verdi', null),
            ('Anna', '', repeat('parole e ancora parole ', 9) || 'Verdi'), (e'Anna\x1e%1E', 'Verdi', e'\x1e')
    """)
    assert await found(sql, Options(people=people)) == expected


async def test_words_of_one_name_in_two_rows_are_nobodys(sql: asyncpg.Connection, people: People) -> None:
    await sql.execute("""
        create table t (a text, b text); insert into t values ('Anna', 'x'), ('y', 'Verdi');
        insert into t select 'Anna', 'Verdini' from generate_series(1, 50000)
    """)
    assert await found(sql, Options(people=people)) == set()
    await sql.execute("insert into t values ('Anna', 'Verdi')")
    assert await found(sql, Options(people=people)) == {("t", "a", "name", 1)}


@pytest.mark.parametrize(
    ("public", "expected"),
    [(("a",), {("t", "b", "name", 1)}), (("b",), {("t", "a", "name", 1)}), (("a", "b"), set())],
)
async def test_a_name_across_columns_is_public_where_both_are(
    sql: asyncpg.Connection, people: People, public: tuple[str, ...], expected: set[tuple[str, str, str, int]]
) -> None:
    await sql.execute("create table t (a text, b text); insert into t values ('Anna', 'Verdi')")
    published = {("public", "t", column): frozenset({Kind.NAME}) for column in public}
    assert await found(sql, Options(people=people, published=published)) == expected


async def test_what_cannot_be_looked_at_is_told(sql: asyncpg.Connection) -> None:
    await sql.execute(f"""
        do $$ begin create role {WATCHER} login; exception when duplicate_object then null; end $$;
        create table closed (c text);
        create table hidden (c text); grant select on hidden to {WATCHER};
        alter table hidden enable row level security; create policy p on hidden using (false);
        create schema away; create table away.t (c text);
        create extension postgres_fdw; create server s foreign data wrapper postgres_fdw;
        create foreign table far (c text) server s;
        create table broken (c int, b text generated always as ((1 / c)::text)); insert into broken values (0);
        grant select on broken to {WATCHER};
        create table open (c text); grant select on open to {WATCHER}
    """)  # noqa: S608
    await sql.execute(f"set session authorization {WATCHER}")
    try:
        findings = await scan(sql, Options())
    finally:
        await sql.execute("reset session authorization")
    unread = {(each.schemaname, each.relname) for each in findings if each.kind is Kind.UNREAD}
    assert unread == {
        ("public", "closed"),
        ("public", "hidden"),
        ("away", "t"),
        ("public", "far"),
        ("public", "broken"),
    }
    assert all(each.reason for each in findings)


async def test_a_sample_reads_a_part_and_small_tables_whole(sql: asyncpg.Connection) -> None:
    await sql.execute(f"""
        create table large as select i as id, '{EMAIL}' as c from generate_series(1, 20000) i; analyze large;
        create table small as select '{EMAIL}' as c from generate_series(1, 7); analyze small;
        create table fresh (c text) with (autovacuum_enabled = off);
        insert into fresh select '{EMAIL}' from generate_series(1, 5)
    """)  # noqa: S608
    counts = {relname: count for relname, _, _, count in await found(sql, Options(rows=1000))}
    assert counts["small"] == 7
    assert counts["fresh"] == 5
    assert 200 < counts["large"] < 5000


async def test_nothing_is_left_behind_and_progress_is_told(sql: asyncpg.Connection) -> None:
    await sql.execute("create table t as select i::text as c from generate_series(1, 100) i")
    told: list[float] = []
    await scan(sql, Options(progress=lambda ratio, _: told.append(ratio)))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert not sql.is_in_transaction()
    assert await sql.fetchval("show row_security") == "on"
    await sql.execute("create table still_writable (id int)")
