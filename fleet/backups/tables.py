"""Which tables of a database are copied in chunks, by which statements, and in which of COPY's formats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fleet.connections import Connection, Record

LARGE_BYTES = 4 << 20
_SMALL_TOTAL = 64 << 20  # of all tables that are left to pg_dump, in bytes
CHUNK_BYTES = 128 << 10
MOST_BLOCKS = 64
MOST_CHUNKS = 1 << 18  # of one table, where their size may grow: what is known of each is held in memory

# not sent in binary by some servers, or with numbers in it that mean something else in another database
_NOT_PORTABLE = frozenset({"money", "aclitem", "pg_node_tree", "refcursor", "gtsvector"})
# types of these extensions have a binary form that is the same everywhere
_KNOWN_EXTENSIONS = frozenset({"vector", "citext", "hstore", "ltree", "postgis", "cube", "isn", "seg"})
_FIRST_NORMAL_OID = 16384  # access/transam.h: what has a lower number is the same in every database

_TABLES = """
    select c.oid, n.nspname, c.relname, c.relfilenode, pg_table_size(c.oid) as bytes,
        pg_relation_size(c.oid) / current_setting('block_size')::int as pages,
        format('%I.%I', n.nspname, c.relname) as quoted,
        array_agg(a.attname::text order by a.attnum) as columns,
        array_agg(a.atttypid order by a.attnum) as types,
        array_agg(a.attnum || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || coalesce(a.attmissingval::text, '')
            order by a.attnum) as described,
        format('select %s from only %I.%I', string_agg(format('%I', a.attname), ', ' order by a.attnum),
            n.nspname, c.relname) as query,
        format('select ctid, xmin from only %I.%I', n.nspname, c.relname) as rows_query
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    where c.relkind = 'r' and c.relpersistence <> 't'
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    group by c.oid, n.nspname
    order by bytes desc, 2, 3
"""

_TYPES = """
    with recursive used(oid) as (
        select unnest($1::oid[])
        union
        select part from used join pg_type t on t.oid = used.oid
        left join pg_range r on t.oid in (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
        cross join unnest(array[t.typbasetype, t.typelem, r.rngsubtype]) as part
        where part <> 0
    )
    select t.oid, t.typname::text as name, t.typtype::text as kind, t.typcategory::text as category,
        t.typbasetype as base, t.typelem as element, coalesce(r.rngsubtype, 0) as subtype,
        t.typsend <> 0 and t.typreceive <> 0 as has_binary, e.extname::text as extension, e.extversion as version,
        (select array_agg(enumlabel::text order by enumsortorder) from pg_enum where enumtypid = t.oid) as labels
    from used join pg_type t on t.oid = used.oid
    left join pg_range r on t.oid in (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
    left join pg_depend d on d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
        and d.refclassid = 'pg_extension'::regclass
    left join pg_extension e on e.oid = d.refobjid
"""


@dataclass(frozen=True, slots=True)
class LargeTable:
    """A table to copy: `query` gives its rows, `rows_query` their (ctid, xmin); a chunk spans `blocks` heap blocks.

    `quoted` is its name in SQL.
    `signature` is of what the bytes of a row version depend on besides its content; None: rows must always be read.
    """

    oid: int
    schema_name: str
    name: str
    quoted: str
    query: str
    rows_query: str
    columns: tuple[str, ...]
    format: Literal["binary", "text"]
    signature: str | None
    filenode: int
    size_bytes: int
    blocks: int


async def large_tables(connection: Connection, least_bytes: int = LARGE_BYTES) -> list[LargeTable]:
    """Those that pg_dump leaves to us, largest first, as the transaction's snapshot sees them."""
    records = await connection.fetch(_TABLES)
    types = {
        record["oid"]: record
        for record in await connection.fetch(_TYPES, list({oid for record in records for oid in record["types"]}))
    }
    version = connection.get_server_version().major
    left = sum(record["bytes"] for record in records)
    chosen = []
    for record in records:
        if record["bytes"] < least_bytes and left <= _SMALL_TOTAL:
            break
        left -= record["bytes"]
        chosen.append(_large(record, types, version))
    return chosen


def _large(record: Record, types: Mapping[int, Record], version: int) -> LargeTable:
    binary = all(_portable(oid, types) for oid in record["types"])
    facts = [version, record["columns"], record["described"], _describe(record["types"], types)]
    signature = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return LargeTable(
        oid=record["oid"],
        schema_name=record["nspname"],
        name=record["relname"],
        quoted=record["quoted"],
        query=record["query"],
        rows_query=record["rows_query"],
        columns=tuple(record["columns"]),
        format="binary" if binary else "text",
        # what the text of a composite or unknown type depends on is not followed
        signature=signature if binary else None,
        filenode=record["relfilenode"],
        size_bytes=record["bytes"],
        blocks=chunk_blocks(record["pages"], record["bytes"]),
    )


def chunk_blocks(pages: int, size_bytes: int) -> int:
    """How many of a table's heap blocks a chunk spans: as makes it CHUNK_BYTES; more where there were too many."""
    return max(1, min(MOST_BLOCKS, max(round(CHUNK_BYTES * pages / max(size_bytes, 1)), pages // MOST_CHUNKS)))


def _portable(oid: int, types: Mapping[int, Record]) -> bool:
    kind = types[oid]
    category = "array" if kind["kind"] == "b" and kind["category"] == "A" else kind["kind"]
    match category:
        case "d":
            return _portable(kind["base"], types)
        case "r" | "m":
            return bool(kind["subtype"]) and _portable(kind["subtype"], types)
        case "array":  # it names its elements' type by number
            return bool(kind["element"] < _FIRST_NORMAL_OID) and _portable(kind["element"], types)
        case "b":
            return bool(kind["has_binary"]) and _is_known(kind)
        case _:  # an enum is sent as its label; composite types name their columns' types by number
            return category == "e"


def _is_known(kind: Record) -> bool:
    if kind["oid"] >= _FIRST_NORMAL_OID:
        return kind["extension"] in _KNOWN_EXTENSIONS
    return not kind["name"].startswith("reg") and kind["name"] not in _NOT_PORTABLE


def _describe(oids: list[int], types: Mapping[int, Record]) -> list[object]:
    """What is sent for a value may change with these: labels of an enum, the version of an extension."""
    reached: set[int] = set()
    waiting = set(oids)
    while waiting:
        oid = waiting.pop()
        reached.add(oid)
        parts = {types[oid]["base"], types[oid]["element"], types[oid]["subtype"]} - {0}
        waiting |= parts - reached
    return sorted([[types[oid]["name"], types[oid]["labels"], types[oid]["version"]] for oid in reached], key=str)
