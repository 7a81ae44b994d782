"""Tables that VACUUM FULL would make smaller: what they take, what they would take, by the planner's statistics.

A row takes its header, its line pointer, and its values, aligned (src/include/access/htup_details.h); of what is stored
beside it, each piece takes a quarter of a page at most (src/include/access/heaptoast.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actions._action import Object
from fleet.connections import Connection

# statistics of an inheritance tree are its parent's, not those of its rows
_SQL = """
    select c.oid::int8 as oid, n.nspname::text as schemaname, c.relname::text as relname,
        format('%I.%I', n.nspname, c.relname) as quoted, pg_relation_filenode(c.oid)::int8 as filenode,
        pg_relation_size(c.oid)::float8 as heap_bytes,
        coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)::float8 as toast_bytes,
        pg_indexes_size(c.oid)::float8 as index_bytes,
        case when c.relpages > 0 then greatest(c.reltuples, 0) end::float8 as rows,
        case when t.reltuples >= 0 and t.relpages > 0 then t.reltuples * current_setting('block_size')::int / 4
            else coalesce(pg_relation_size(t.oid), 0) end::float8 as toast_expected,
        w.width, coalesce((select option_value::float8 / 100 from pg_options_to_table(c.reloptions)
            where option_name = 'fillfactor'), 1.0) as fill,
        array(select pg_get_indexdef(indexrelid) from pg_catalog.pg_index where indrelid = c.oid and indisvalid
            order by indexrelid) as indexes,
        case
            when exists (select from pg_catalog.pg_depend
                where classid = 'pg_catalog.pg_class'::regclass and objid = c.oid and deptype = 'e')
                then 'belongs to an extension'
            when not (pg_has_role(c.relowner, 'usage') or {maintain}) then 'is not ours'
        end as obstacle
    from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join pg_catalog.pg_class t on t.oid = c.reltoastrelid and t.relkind = 't'
        cross join lateral (
            select case when count(*) = count(s.avg_width) then sum((1 - s.null_frac) * s.avg_width) end::float8
                as width
            from pg_catalog.pg_attribute a
                left join pg_catalog.pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname
                    and s.attname = a.attname and not s.inherited
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        ) w
    where c.relkind in ('r', 'm') and c.relpersistence <> 't'
        and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or c.relname = $2)
    order by pg_table_size(c.oid) desc, 1
"""
_MAINTAIN = "has_table_privilege(c.oid, 'maintain')"  # since PostgreSQL 17
_HEADER, _POINTER, _PAGE_ROOM = 24, 4, (8192 - 24) / 8192


@dataclass(frozen=True, slots=True)
class BloatedTable:
    """A table as it is; sizes in bytes, `rows` and `width` (of a row's values) by statistics, None without them.

    `filenode` is another one once it was written anew.
    """

    datname: str
    schemaname: str
    relname: str
    oid: int
    quoted: str
    filenode: int
    heap_bytes: float
    toast_bytes: float
    index_bytes: float
    rows: float | None
    toast_expected: float
    width: float | None
    fill: float
    indexes: Sequence[str]
    obstacle: str | None

    @property
    def object(self) -> Object:
        names = ("datname", "schemaname", "relname", "oid", "filenode")
        return {name: getattr(self, name) for name in names}

    @property
    def bytes(self) -> float:
        """Without its indexes."""
        return self.heap_bytes + self.toast_bytes

    @property
    def expected_bytes(self) -> float | None:
        """What it would take if it was written anew, without its indexes; None where nobody can tell."""
        if self.rows is None or self.width is None:
            return None
        row = _POINTER + _HEADER + 8 * -(-self.width // 8)
        heap = self.rows * row / (_PAGE_ROOM * self.fill)
        return min(heap, self.heap_bytes) + min(self.toast_expected, self.toast_bytes)

    @property
    def gain_bytes(self) -> float | None:
        return None if self.expected_bytes is None else self.bytes - self.expected_bytes


async def find_tables(connection: Connection, datname: str, schema: str | None, name: str | None) -> list[BloatedTable]:
    """Those of the database of `connection` of these names (None: any), the largest first."""
    maintain = _MAINTAIN if connection.get_server_version().major >= 17 else "false"
    records = await connection.fetch(_SQL.format(maintain=maintain), schema, name)
    return [BloatedTable(datname, **dict(record)) for record in records]
