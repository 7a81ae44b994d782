"""Random single changes of a random schema, each with the difference that it has to be told as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fleet.schema import Change, Kind
from tests.schemas import APP, Column, Part, Schema


@dataclass(frozen=True, slots=True)
class SingleChange:
    """`sql` makes `object`, as the schema knows it, differ from what it is there; `extra` ones are new."""

    sql: str
    kind: Kind
    change: Change
    object: str


def changes(schema: Schema, random: Random) -> Iterator[SingleChange]:
    """One of every sort, each of a random object."""
    for make in (_tables, _columns, _constraints, _indexes, _others, _ground):
        yield from make(schema, random)


def _tables(schema: Schema, random: Random) -> Iterator[SingleChange]:
    name = random.choice(schema.tables).name
    yield SingleChange(
        f"create table {APP}.another (id integer primary key, t text)", "table", "extra", f"{APP}.another"
    )
    yield SingleChange(f"alter table {name} rename to another", "table", "renamed", name)
    yield SingleChange(f"alter table {name} enable row level security", "table", "changed", name)
    yield SingleChange("create schema another", "schema", "extra", "another")


def _columns(schema: Schema, random: Random) -> Iterator[SingleChange]:
    table = random.choice(schema.tables)
    spare, plain = table.spare, random.choice([one for one in table.columns[1:] if not one.generated])
    head = f"alter table {table.name}"

    def of(change: Change, sql: str, one: Column) -> SingleChange:
        return SingleChange(f"{head} {sql}", "column", change, f"{table.name}.{one.name}")

    yield of("extra", "add another numeric(4,1) not null default 2.5", Column("another", "numeric"))
    yield of("missing", f"drop {spare.name}", spare)
    yield of("renamed", f"rename {spare.name} to another", spare)
    yield of("changed", f"alter {spare.name} type character varying(9)", spare)
    yield of("changed", f'alter {spare.name} type text collate "C"', spare)
    yield of("changed", f"alter {spare.name} set default 'another'", spare)
    yield of("changed", f"alter {plain.name} {'drop' if plain.not_null else 'set'} not null", plain)
    identity = "drop identity" if table.key.generated else "add generated always as identity"
    yield of("changed", f"alter {table.key.name} {identity}", table.key)
    yield of("renamed", f"rename {table.columns[3].name} to another", table.columns[3])
    # where a foreign key leads to, and no view looks
    table = random.choice(schema.tables[2:])
    path, sql = f"{table.name}.{table.key.name}", f"alter table {table.name} rename {table.key.name} to another"
    yield SingleChange(sql, "column", "renamed", path)


def _constraints(schema: Schema, random: Random) -> Iterator[SingleChange]:
    def of(one: Part, change: Change, sql: str) -> SingleChange:
        return SingleChange(f"alter table {one.table} {sql}", "constraint", change, one.path)

    one = random.choice(schema.of("constraint", "unique") + schema.of("constraint", "foreign key"))
    yield of(one, "missing", f"drop constraint {one.name}")
    one = random.choice(schema.of("constraint"))
    yield of(one, "renamed", f"rename constraint {one.name} to another")
    one = random.choice(schema.of("constraint", "check"))
    (number,) = one.uses
    anew = f"drop constraint {one.name}, add constraint {one.name} check ({number} between 0 and 98)"
    yield of(one, "changed", anew)
    one = random.choice(schema.of("constraint", "foreign key"))
    yield of(one, "changed", f"alter constraint {one.name} deferrable initially deferred")
    one = random.choice(schema.of("constraint", "check"))
    (number,) = one.uses
    another = f"alter table {one.table} add constraint another check ({number} <> 5) not valid"
    yield SingleChange(another, "constraint", "extra", f"{one.table}.another")


def _indexes(schema: Schema, random: Random) -> Iterator[SingleChange]:
    def of(one: Part, change: Change, sql: str) -> SingleChange:
        return SingleChange(sql, "index", change, one.path)

    one = random.choice(schema.of("index"))
    yield of(one, "missing", f"drop index {one.name}")
    one = random.choice(schema.of("index"))
    yield of(one, "renamed", f"alter index {one.name} rename to another")
    one = random.choice(schema.of("index", "fillfactor"))
    yield of(one, "changed", f"alter index {one.name} set (fillfactor = 71)")
    for before, after in (("> 3", "> 4"), (" desc", ""), ("unique index", "index"), ("jsonb_path_ops", "")):
        one = random.choice(schema.of("index", before))
        yield of(one, "changed", f"drop index {one.name}; {one.sql.replace(before, after)}")
    # of pgvector, where there is one
    for before, after in (("(m = 8)", "(m = 9)"), ("cosine_ops", "ip_ops"), ("lists = 10", "lists = 11")):
        for one in schema.of("index", before)[:1]:
            yield of(one, "changed", f"drop index {one.name}; {one.sql.replace(before, after)}")
    for one in schema.of("index", "::public.halfvec(8)")[:1]:
        anew = one.sql.replace("halfvec_l2_ops", "halfvec_l1_ops")
        yield of(one, "changed", f"drop index {one.name}; {anew}")
    table = random.choice(schema.tables)
    another = f"create index another on {table.name} ({table.spare.name})"
    yield SingleChange(another, "index", "extra", f"{APP}.another")


def _others(schema: Schema, random: Random) -> Iterator[SingleChange]:
    """Views, triggers, policies, statistics."""
    view, above, _ = schema.of("view")
    yield SingleChange(f"drop view {above.name}", "view", "missing", above.name)
    yield SingleChange(f"alter view {above.name} reset (security_barrier)", "view", "changed", above.name)
    changed = view.sql.replace("create view", "create or replace view").replace("> 1", "> 2")
    yield SingleChange(changed, "view", "changed", view.name)
    yield SingleChange(f"alter view {view.name} rename to another", "view", "renamed", view.name)
    (one,) = schema.of("materialized_view")
    yield SingleChange(f"drop materialized view {one.name}", one.kind, "missing", one.name)
    yield SingleChange(f"alter materialized view {one.name} rename to another", one.kind, "renamed", one.name)
    for kind, sql in (("trigger", "drop trigger {} on {}"), ("policy", "drop policy {} on {}")):
        one = random.choice([each for each in schema.parts if each.kind == kind])
        yield SingleChange(sql.format(one.name, one.table), one.kind, "missing", one.path)
        yield SingleChange(f"alter {kind} {one.name} on {one.table} rename to another", one.kind, "renamed", one.path)
    one = random.choice(schema.of("trigger"))
    yield SingleChange(f"alter table {one.table} disable trigger {one.name}", "trigger", "changed", one.path)
    one = random.choice(schema.of("policy"))
    (number,) = one.uses
    yield SingleChange(f"alter policy {one.name} on {one.table} using ({number} > 1)", "policy", "changed", one.path)
    one = random.choice(schema.of("statistics"))
    yield SingleChange(f"drop statistics {one.name}", "statistics", "missing", one.name)


def _ground(_schema: Schema, _random: Random) -> Iterator[SingleChange]:
    """Types, sequences, functions: those that every schema has."""
    mood, pair, positive = (f"{APP}.{name}" for name in ("mood", "pair", "positive"))
    for sql, name in (
        (f"alter type {mood} add value 'b' before 'it''s'", mood),
        (f"alter type {mood} rename value 'a' to 'z'", mood),
        (f"alter type {pair} add attribute c integer", pair),
        (f"alter domain {positive} set default 2", positive),
        (f"alter domain {positive} drop constraint above", positive),
    ):
        yield SingleChange(sql, "type", "changed", name)
    yield SingleChange(f"drop type {pair}", "type", "missing", pair)
    counter, twice = f"{APP}.counter", f"{APP}.twice(integer)"
    yield SingleChange(f"alter sequence {counter} increment 3", "sequence", "changed", counter)
    yield SingleChange(f"drop sequence {counter}", "sequence", "missing", counter)
    body = "returns integer language sql as 'select $1 + $1'"
    yield SingleChange(f"create or replace function {twice} {body}", "function", "changed", twice)
    yield SingleChange(f"alter function {twice} rename to another", "function", "renamed", twice)
    yield SingleChange(f"drop function {twice}", "function", "missing", twice)
