"""Rows past their time, as the policy's retention rules tell, and which of them may go.

A row goes when its own rule says so. Where others refer to it, those go first: rows of a table that has a rule as well,
which keeps them no longer, go with it where the schema says ON DELETE CASCADE; all others keep it, until their own time
has come. What is changed to NULL or a default is left to the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from actions._action import Object
from fleet.connections import Connection
from fleet.errors import ActionError
from fleet.policy import RowRetention

_SMALL_BYTES = 8 * 2**20  # a table that may be read whole for each row that it might refer to
_TABLES = """
    with recursive parts (oid) as (
        select c.oid
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
        union all
        select h.inhrelid from pg_catalog.pg_inherits h join parts on parts.oid = h.inhparent
    )
    select c.oid::int8 as oid, n.nspname::text as schemaname, c.relname::text as relname, c.relkind = 'p' as divided,
        format('%I.%I', n.nspname, c.relname) as quoted, quote_ident(a.attname) as column_name,
        format_type(a.atttypid, null) as type,
        (coalesce(pg_relation_size(c.oid), 0) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0))::float8
            as bytes,
        greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)::float8 as rows,
        exists (
            select from pg_catalog.pg_index i
                join pg_catalog.pg_class x on x.oid = i.indexrelid
                join pg_catalog.pg_am m on m.oid = x.relam and m.amname = 'btree'
            where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid and i.indpred is null
        ) as indexed,
        case
            when c.relkind not in ('r', 'p') then 'is stored elsewhere'
            when a.attname is null then 'has no such column as its retention rule says'
            when a.atttypid not in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
                then 'has a retention rule by a column that is no timestamp or date'
            when row_security_active(c.oid) then 'hides rows from the role (row-level security)'
            when not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
                and has_table_privilege(c.oid, 'delete') and has_any_column_privilege(c.oid, 'update'))
                then 'may not be changed by the role: grant it SELECT, UPDATE (to lock rows) and DELETE'
        end as obstacle
    from parts
        join pg_catalog.pg_class c using (oid)
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join pg_catalog.pg_attribute a
            on a.attrelid = c.oid and a.attname = $3 and a.attnum > 0 and not a.attisdropped
    order by 1
"""
# A key to a partitioned table is one constraint, and one more for each partition.
_LINKS = """
    select f.conrelid::int8 as child_oid, format('%I.%I', n.nspname, c.relname) as child,
        f.confdeltype::text as deletes, c.oid = any($2::oid[]) as itself,
        array(select format('%I', a.attname) from unnest(f.conkey) with ordinality k(attnum, nth)
            join pg_catalog.pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.attnum order by nth) as columns,
        array(select format('%I', a.attname) from unnest(f.confkey) with ordinality k(attnum, nth)
            join pg_catalog.pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.attnum order by nth) as keys,
        case
            when row_security_active(c.oid) then 'and row-level security hides rows of it from the role'
            when not (has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select'))
                then 'and the role may not read it'
            when not (c.relkind = 'r' and pg_relation_size(c.oid) < $3) and not exists (
                select from pg_catalog.pg_index x
                where x.indrelid = f.conrelid and x.indisvalid and x.indpred is null and x.indkey[0] = any(f.conkey)
            ) then 'through columns without an index: each deleted row would read all of it'
        end as obstacle
    from pg_catalog.pg_constraint f
        join pg_catalog.pg_class c on c.oid = f.conrelid
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where f.contype = 'f' and f.conparentid = 0
        and (f.confrelid = $1 or f.confrelid in (select relid from pg_partition_ancestors($1::oid::regclass)))
    order by f.oid
"""
_MOMENT = "select least($1, extract(epoch from clock_timestamp())::float8 - $2)"
_LIMITS = {  # what has no time zone is read as UTC
    "timestamp with time zone": "{0}",
    "timestamp without time zone": "{0} at time zone 'UTC'",
    "date": "({0} at time zone 'UTC')::date",
}


@dataclass(frozen=True, slots=True)
class Link:
    """A foreign key that refers to a table: `columns` of `child` hold the `keys`.

    `obstacle` says why nobody can tell, or not quickly, whether a row refers to another.
    """

    child_oid: int
    child: str
    deletes: str  # as pg_constraint.confdeltype
    itself: bool
    columns: Sequence[str]
    keys: Sequence[str]
    obstacle: str | None

    @property
    def changes(self) -> bool:
        """The server sets what refers to NULL or a default."""
        return self.deletes in {"n", "d"}

    def join(self, child: str, parent: str) -> str:
        pairs = zip(self.columns, self.keys, strict=True)
        return " and ".join(f"{child}.{column} = {parent}.{key}" for column, key in pairs)


@dataclass(frozen=True, slots=True)
class RowTable:
    """A table, or a part of one, with its rule, which names the table `rule`; `keep` in seconds.

    The rest is as the server writes it.
    """

    rule: tuple[str, str]
    datname: str
    schemaname: str
    relname: str
    oid: int
    quoted: str
    column: str
    type: str
    keep: float
    bytes: float
    rows: float
    indexed: bool
    divided: bool
    obstacle: str | None
    links: tuple[Link, ...] = ()

    @property
    def object(self) -> Object:
        names = {"datname": self.datname, "schemaname": self.schemaname, "relname": self.relname, "oid": self.oid}
        return {**names, "column": self.column, "keep_seconds": self.keep}

    def expired(self, alias: str, now: float) -> str:
        """The condition that a row is past its time at `now`, in unix seconds."""
        limit = _LIMITS[self.type].format(f"to_timestamp({now - self.keep:.6f})")
        return f"{alias}.{self.column} < {limit}"


@dataclass(frozen=True, slots=True)
class Cleared:
    """Rows of `table`, called `alias`, that go with others, by the condition `belongs`."""

    table: RowTable
    alias: str
    belongs: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The retention rules of a database: each of its tables that has one, by object id, at `now` (unix seconds)."""

    now: float
    tables: Mapping[int, RowTable]

    def in_order(self) -> list[RowTable]:
        """Those that hold rows, what refers before what is referred to.

        Raises:
            ActionError: tables refer to each other in a circle.
        """
        order: TopologicalSorter[int] = TopologicalSorter()
        for table in self.tables.values():
            referring = {link.child_oid for link in table.links if not link.itself}
            order.add(table.oid, *(referring & self.tables.keys()))
        try:
            found = [self.tables[oid] for oid in order.static_order()]
        except CycleError as error:
            names = ", ".join(self.tables[oid].quoted for oid in error.args[1][1:])
            raise ActionError(f"{names} refer to each other", hint="nobody can tell what has to go first") from error
        return [table for table in found if not table.divided]

    def obstacle(self, table: RowTable) -> str | None:
        """Why nothing of `table` may be deleted; None: it may."""
        if table.obstacle is not None:
            return f"{table.quoted} {table.obstacle}"
        for link in table.links:
            if link.obstacle is not None:
                return f"{link.child} refers to {table.quoted} {link.obstacle}"
            child = self.goes_with(table, link)
            if child is not None and (why := self.obstacle(child)) is not None:
                return why
        return None

    def may_go(self, table: RowTable, alias: str) -> str:
        """The condition that nothing keeps a row of `table`."""
        kept = [self._kept_by(table, link, alias) for link in table.links if not link.changes]
        return " and ".join(f"not {one}" for one in kept if one) or "true"

    def alone(self, table: RowTable, alias: str) -> str:
        """The condition that none refers to a row of `table` but what goes with it, and what the server changes."""
        conditions = []
        for link in table.links:
            name, child = f"{alias}r", self.goes_with(table, link)
            keeps = "true" if child is None else f"not ({self.alone(child, name)})"
            if not link.changes and keeps != "not (true)":
                refers = f"select from {link.child} {name} where {link.join(name, alias)} and {keeps}"
                conditions.append(f"not exists ({refers})")
        return " and ".join(conditions) or "true"

    def goes_with(self, table: RowTable, link: Link) -> RowTable | None:
        """The table whose rows go with those of `table` that they refer to, however young."""
        child = self._decided(link)
        if child is None or link.itself or link.deletes != "c" or self._parts_are_referred_to(child):
            return None
        return child if child.keep <= table.keep else None

    def clearing(self, table: RowTable, chosen: str) -> list[Cleared]:
        """What goes with the rows of `table` (called `t`) that `chosen` tells, the last that refers first."""
        return list(self._clearing(table, f"only {table.quoted} t", "t", chosen))

    def _decided(self, link: Link) -> RowTable | None:
        child = self.tables.get(link.child_oid)
        return None if child is None or child.obstacle is not None else child

    def _parts_are_referred_to(self, table: RowTable) -> bool:
        """By keys to a single partition, which are none to the whole table."""
        parts = (part for part in self.tables.values() if part.rule == table.rule)
        return any(link not in table.links for part in parts for link in part.links)

    def _clearing(self, table: RowTable, source: str, alias: str, chosen: str) -> Iterator[Cleared]:
        for link in table.links:
            child = self.goes_with(table, link)
            if child is not None:
                name = f"{alias}r"
                belongs = f"exists (select from {source} where {link.join(name, alias)} and {chosen})"
                yield from self._clearing(child, f"{link.child} {name}", name, belongs)
                yield Cleared(child, name, belongs)

    def _kept_by(self, table: RowTable, link: Link, alias: str) -> str | None:
        name, child = f"{alias}r", self._decided(link)
        if child is None:
            goes = "false"
        elif link.itself:
            goes = child.expired(name, self.now)
        elif self.goes_with(table, link) is not None:
            goes = self.may_go(child, name)
        else:
            goes = f"{child.expired(name, self.now)} and {self.may_go(child, name)}"
        if goes == "true":
            return None
        return f"exists (select from {link.child} {name} where {link.join(name, alias)} and not ({goes}))"


async def read_rules(
    connection: Connection, datname: str, rules: Sequence[RowRetention], now: float, ago: float = 0.0
) -> Rules:
    """Those of the rules whose table is in the database of `connection`.

    `now` was `ago` seconds ago. Where it was earlier by the server's clock, that holds: a clock that is ahead must not
    make rows older than they are.
    """
    moment = await connection.fetchval(_MOMENT, now, ago)
    found: dict[int, RowTable] = {}
    for rule in rules:
        records = [dict(record) for record in await connection.fetch(_TABLES, *rule.qualified, rule.column)]
        oids = [record["oid"] for record in records]
        for record in records:
            links = await connection.fetch(_LINKS, record["oid"], oids, _SMALL_BYTES)
            column = record.pop("column_name")
            found[record["oid"]] = RowTable(
                rule.qualified,
                datname,
                **record,
                column=column,
                keep=rule.keep.total_seconds(),
                links=tuple(Link(**dict(link)) for link in links),
            )
    return Rules(moment, found)
