"""What there is to look through: every table and every column whose type can hold text, or a long number.

A type that is not known to be harmless is read as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fleet.connections import Connection, Record


class Content(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    NETWORK = "network"
    SEARCH = "search"  # words out of order


# neither text nor a number of nine digits: of all else one cannot be sure
_HARMLESS = (
    "bool int2 int4 float4 oid xid xid8 cid tid date time timetz timestamp timestamptz interval uuid bit varbit point"
    " line lseg box path polygon circle pg_lsn int4range int4multirange daterange datemultirange tsrange tsmultirange"
    " tstzrange tstzmultirange"
)
_HARMLESS_OF = {"vector": frozenset({"vector", "halfvec", "sparsevec"})}
_CONTENT = {
    **dict.fromkeys(("int8", "numeric", "float8"), Content.NUMBER),
    **dict.fromkeys(("inet", "cidr"), Content.NETWORK),
    "tsvector": Content.SEARCH,
}
_TABLES = """
    select c.oid, n.nspname::text, c.relname::text, c.relkind::text, format('%I.%I', n.nspname, c.relname) as quoted,
        c.reltuples::float8 as rows, pg_catalog.pg_table_size(c.oid)::float8 as bytes,
        has_schema_privilege(n.oid, 'usage') as usable
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'm', 'f') and c.relpersistence <> 't' and c.relispopulated
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    order by 2, 3
"""
_COLUMNS = """
    select a.attrelid, a.attname::text, format('%I', a.attname) as quoted, a.atttypid
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    where c.oid = any ($1::oid[]) and a.attnum > 0 and not a.attisdropped
    order by a.attrelid, a.attnum
"""
_TYPES = """
    select t.oid, t.typname::text, t.typtype::text, t.typbasetype,
        case when t.typcategory = 'A' then t.typelem else 0 end as element, n.nspname::text,
        (select e.extname::text from pg_catalog.pg_depend d join pg_catalog.pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
                and d.refclassid = 'pg_catalog.pg_extension'::regclass limit 1) as extension
    from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
"""


@dataclass(frozen=True, slots=True)
class Column:
    """`quoted` is in SQL."""

    schemaname: str
    relname: str
    name: str
    quoted: str
    content: Content

    @property
    def key(self) -> tuple[str, str, str]:
        return self.schemaname, self.relname, self.name


@dataclass(frozen=True, slots=True)
class Table:
    """With rows of its own. `rows` is the planner's estimate, negative where it has none; `harmless` are columns.

    `closed` says why it cannot be looked through.
    """

    oid: int
    schemaname: str
    relname: str
    quoted: str
    rows: float
    bytes: float
    columns: tuple[Column, ...]
    harmless: frozenset[str]
    materialized: bool = False
    closed: str | None = None


async def read_columns(connection: Connection) -> list[Table]:
    """Every table, partition and materialized view, by schema and name; temporary ones are their session's."""
    types = {record["oid"]: record for record in await connection.fetch(_TYPES)}
    records = await connection.fetch(_TABLES)
    columns: dict[int, list[Record]] = {}
    for record in await connection.fetch(_COLUMNS, [record["oid"] for record in records]):
        columns.setdefault(record["attrelid"], []).append(record)
    return [_table(record, columns.get(record["oid"], []), types) for record in records]


def _table(record: Record, columns: list[Record], types: Mapping[int, Record]) -> Table:
    schema, name = record["nspname"], record["relname"]
    contents = {column["attname"]: _content(column["atttypid"], types) for column in columns}
    return Table(
        record["oid"],
        schema,
        name,
        record["quoted"],
        record["rows"],
        record["bytes"],
        columns=tuple(
            Column(schema, name, column["attname"], column["quoted"], content)
            for column in columns
            if (content := contents[column["attname"]]) is not None
        ),
        harmless=frozenset(each for each, content in contents.items() if content is None),
        materialized=record["relkind"] == "m",
        closed="its rows are on another server"
        if record["relkind"] == "f"
        else None
        if record["usable"]
        else "the role may not use its schema",
    )


def _content(oid: int, types: Mapping[int, Record]) -> Content | None:
    """How values of a type are looked at; None: they can be nobody's."""
    kind, array = types[oid], False
    while kind["typbasetype"] or kind["element"]:
        array = array or not kind["typbasetype"]
        kind = types[kind["typbasetype"] or kind["element"]]
    name = kind["typname"]
    if kind["extension"] is not None:
        return None if name in _HARMLESS_OF.get(kind["extension"], ()) else Content.TEXT
    if kind["nspname"] != "pg_catalog":
        return Content.TEXT
    if name in _HARMLESS.split():
        return None
    return Content.TEXT if array else _CONTENT.get(name, Content.TEXT)
