"""Indexes that may be built anew, and whether one takes much more room than it has to.

As pg_index_watch decides: twice the room of a new one and 10 MiB, by statistics that are fresh. What a new one takes is
estimated: a btree by the width of its columns (src/include/access/nbtree.h), a vector index by pgvector's layout.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from actions._action import Object
from fleet.connections import Connection
from fleet.vectors import Method
from fleet.vectors.costs import Shape, index_bytes
from fleet.vectors.recommended import most_dimensions, parse_options

BLOATED = 2.0  # times what a new one takes
_RELIABLE_BYTES = 128 * 1024  # less is not told apart: pg_index_watch's minimum_reliable_index_size
_PAGE_BYTES, _ITEM, _ROW = 8192, 4, 6  # a page; what points at an entry on it, and at a row of the table
_MOST_ROWS = 130  # of one entry, on average, where many are equal
_PAGE_ROOM = _PAGE_BYTES - 24 - 16  # of a btree: without the page's header and the btree's own

# An expression's statistics stand under the name of the index. `known`: statistics of every column, or a fixed width.
_SQL = """
    select i.oid::int8 as oid, t.oid::int8 as table_oid, n.nspname::text as schemaname, t.relname::text as relname,
        i.relname::text as indexrelname, format('%I.%I', n.nspname, i.relname) as quoted,
        format('%I.%I', n.nspname, t.relname) as quoted_table, pg_get_indexdef(i.oid) as definition,
        m.amname::text as method, o.opcname::text as opclass, nullif(a.atttypmod, -1) as dimensions,
        (select jsonb_object_agg(option_name, option_value)::text from pg_options_to_table(i.reloptions)) as options,
        pg_relation_size(i.oid)::float8 as bytes, case when i.relpages > 0 then i.reltuples end::float8 as tuples,
        w.width, w.known, w.nulls, w.distinct,
        case
            when x.indisexclusion then 'backs an exclusion constraint'
            when not x.indisvalid then 'is invalid'
            when exists (select from pg_catalog.pg_depend
                where classid = 'pg_catalog.pg_class'::regclass and objid in (i.oid, t.oid) and deptype = 'e')
                then 'belongs to an extension'
            when not (pg_has_role(i.relowner, 'usage') or {maintain}) then 'is not ours'
        end as obstacle
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_class t on t.oid = x.indrelid
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
        join pg_catalog.pg_am m on m.oid = i.relam
        left join pg_catalog.pg_opclass o on o.oid = x.indclass[0]
        join pg_catalog.pg_attribute a on a.attrelid = i.oid and a.attnum = 1
        cross join lateral (
            select sum(coalesce((1 - s.null_frac) * s.avg_width, c.attlen))::float8 as width,
                bool_and(s.avg_width is not null or c.attlen > 0) as known,
                coalesce(bool_or(s.null_frac > 0), false) as nulls,
                case when x.indnatts = 1 and not x.indisunique
                        and min(c.atttypid) not in (700, 701, 1700, 3802)  -- equal values may look different
                    then min(s.n_distinct)::float8 end as distinct
            from unnest(x.indkey::int2[]) with ordinality k(attnum, nth)
                join pg_catalog.pg_attribute c on c.attrelid = i.oid and c.attnum = k.nth
                left join pg_catalog.pg_attribute tc on tc.attrelid = t.oid and tc.attnum = k.attnum and k.attnum <> 0
                left join pg_catalog.pg_stats s on s.schemaname = n.nspname and not s.inherited
                    and s.tablename = case k.attnum when 0 then i.relname else t.relname end
                    and s.attname = case k.attnum when 0 then c.attname else tc.attname end
        ) w
    where i.relkind = 'i' and i.relpersistence <> 't'
        and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or t.relname = $2)
        and ($3::text is null or i.relname = $3)
    order by 3, 4, 5
"""
_MAINTAIN = "has_table_privilege(t.oid, 'maintain')"  # since PostgreSQL 17


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it is; sizes in bytes, `tuples` and `width` (of an entry's values) by the server's statistics.

    `obstacle` says why it cannot be built anew beside itself, None that it can.
    """

    datname: str
    schemaname: str
    relname: str
    indexrelname: str
    oid: int
    table_oid: int
    quoted: str
    quoted_table: str
    definition: str
    method: str
    opclass: str | None
    dimensions: int | None
    options: str | None
    bytes: float
    tuples: float | None
    width: float | None
    known: bool
    nulls: bool
    distinct: float | None
    obstacle: str | None

    @property
    def object(self) -> Object:
        names = ("datname", "schemaname", "relname", "indexrelname", "oid", "table_oid", "definition")
        return {name: getattr(self, name) for name in names}

    @property
    def shape(self) -> Shape | None:
        """Of a vector index, if its size can be reckoned."""
        kind = (self.opclass or "").partition("_")[0]
        if self.method not in list(Method) or self.dimensions is None or most_dimensions(kind) is None:
            return None
        method = Method(self.method)
        return Shape(method, kind, self.dimensions, parse_options(method, self._options))

    @property
    def expected_bytes(self) -> float | None:
        """What a new one would take; None where nobody can tell."""
        tuples = self.tuples
        if tuples is None or tuples < 0:
            return None
        if self.shape is not None:
            return index_bytes(self.shape, tuples)
        if self.method != "btree" or not self.known or self.width is None:
            return None
        fill, once = int(self._options.get("fillfactor", 90)), self._options.get("deduplicate_items") == "off"
        distinct = self.distinct if self.distinct is None or self.distinct >= 0 else -self.distinct * tuples
        return btree_bytes(tuples, self.width, fill=fill, nulls=self.nulls, distinct=None if once else distinct)

    @property
    def bloat(self) -> float | None:
        """How many times the room of a new one it takes; None where nobody can tell."""
        expected = self.expected_bytes
        return None if expected is None else self.bytes / max(expected, _RELIABLE_BYTES)

    def is_bloated(self, least_bytes: int) -> bool:
        return self.bytes >= least_bytes and (self.bloat or 0) > BLOATED

    @property
    def _options(self) -> dict[str, str]:
        options: dict[str, str] = json.loads(self.options or "{}")
        return options


def btree_bytes(
    tuples: float, width: float, *, fill: int = 90, nulls: bool = False, distinct: float | None = None
) -> float:
    """A new btree of so many entries, whose values take `width` bytes.

    Of an index that keeps equal values once (PostgreSQL 13), `distinct` says how many there are.
    """
    entry = (16 if nulls else 8) + ceil(width / 8) * 8 + _ITEM
    repeats = min(tuples / distinct, _MOST_ROWS) if distinct else 1.0
    each = entry if repeats < 2 else entry / repeats + _ROW
    leaves = ceil(tuples * each / (_PAGE_ROOM * fill / 100))
    fanout = max(2, _PAGE_ROOM * 70 // 100 // entry)
    return _PAGE_BYTES * (2 + leaves * fanout / (fanout - 1))


async def find_indexes(
    connection: Connection, datname: str, names: Sequence[str | None] = (None, None, None)
) -> list[Index]:
    """Those of the database of `connection` of these names (schema, table, index; None: any)."""
    maintain = _MAINTAIN if connection.get_server_version().major >= 17 else "false"
    records = await connection.fetch(_SQL.format(maintain=maintain), *names)
    return [Index(datname, **dict(record)) for record in records]


async def find_again(connection: Connection, planned: Object) -> Index | None:
    """The index that has the planned one's place now: of its names, and with its definition."""
    names = (planned["schemaname"], planned["relname"], planned["indexrelname"])
    found = [
        index
        for index in await find_indexes(connection, planned["datname"], names)
        if index.table_oid == planned["table_oid"] and index.definition == planned["definition"]
    ]
    return found[0] if found else None
