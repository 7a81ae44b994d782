"""The vector indexes of a database, each with what is needed to search it, to build it again, and to name it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.connections import Connection
from fleet.vectors.recommended import Method, parse_options

# Of the table `t`, estimated. A load that is counted after the ANALYZE that follows it in its session counts twice:
# where there cannot be as many on its `{blocks}`, filled as ANALYZE found them, they are reckoned from those.
ROWS = """
    case
        when t.relpages = 0 or t.reltuples < 0 then nullif(pg_stat_get_live_tuples(t.oid), 0)::float8
        when coalesce(pg_stat_get_live_tuples(t.oid), 0) = 0 then t.reltuples::float8
        when pg_stat_get_live_tuples(t.oid) > 1.5 * t.reltuples / t.relpages * (1 + {blocks})
            then t.reltuples::float8 / t.relpages * {blocks}
        else pg_stat_get_live_tuples(t.oid)::float8
    end
"""
BLOCKS = "pg_relation_size(t.oid) / current_setting('block_size')::float8"
# `expression` is what is indexed, `operator` the distance of its operator class; both as they are written in a query.
_SQL = """
    select current_database()::text as datname, n.nspname::text as schemaname, t.relname::text as relname,
        i.relname::text as indexrelname, i.oid::int8 as oid, t.oid::int8 as table_oid, m.amname as method,
        o.opcname::text as opclass, format_type(a.atttypid, null) as type_name,
        nullif(a.atttypmod, -1) as dimensions, c.attname::text as column,
        format('(%s)', pg_get_indexdef(i.oid, 1, false)) as expression,
        format('operator(%I.%s)', op_n.nspname, op.oprname) as operator, op.oprname::text as distance,
        pg_get_expr(x.indpred, x.indrelid) as predicate,
        (select jsonb_object_agg(option_name, option_value)::text from pg_options_to_table(i.reloptions)) as options,
        pg_get_indexdef(i.oid) as definition,
        format('%I.%I', n.nspname, i.relname) as quoted, format('%I.%I', n.nspname, t.relname) as quoted_table,
        x.indisvalid and x.indisready as valid, pg_relation_size(i.oid) as size_bytes,
        pg_table_size(t.oid) as table_bytes,
        {rows} as rows,
        pg_has_role(t.relowner, 'usage') as owned
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_am m on m.oid = i.relam and m.amname in ('hnsw', 'ivfflat')
        join pg_catalog.pg_opclass o on o.oid = x.indclass[0]
        join pg_catalog.pg_amop p on p.amopfamily = o.opcfamily and p.amoppurpose = 'o'
        join pg_catalog.pg_operator op on op.oid = p.amopopr
        join pg_catalog.pg_namespace op_n on op_n.oid = op.oprnamespace
        join pg_catalog.pg_attribute a on a.attrelid = i.oid and a.attnum = 1
        join pg_catalog.pg_class t on t.oid = x.indrelid
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
        left join pg_catalog.pg_attribute c on c.attrelid = t.oid and c.attnum = x.indkey[0]
    where i.relkind = 'i' and i.relpersistence <> 't' and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or t.relname = $2)
        and ($3::text is null or i.relname = $3) and ($4::oid[] is null or i.oid = any($4))
    order by 2, 3, 4
""".replace("{rows}", ROWS.replace("{blocks}", BLOCKS))


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """`quoted`, `quoted_table`, `expression`, `operator` and `predicate` are SQL as the server itself writes it.

    `type_name` and `dimensions` are of what is indexed (of the expression where it is one); `column` is None for an
    expression; `options` holds lists, or m and ef_construction, with pgvector's defaults. `rows` are estimated; sizes
    are in bytes. `owned`: our role may build and drop indexes of the table.
    """

    datname: str
    schemaname: str
    relname: str
    indexrelname: str
    oid: int
    table_oid: int
    method: Method
    opclass: str
    type_name: str
    dimensions: int | None
    column: str | None
    expression: str
    operator: str
    distance: str  # <->, <=>, <#>, <+>, <~>, <%>
    predicate: str | None
    options: Mapping[str, int]
    definition: str
    quoted: str
    quoted_table: str
    valid: bool
    size_bytes: int
    table_bytes: int
    rows: float | None
    owned: bool

    @property
    def object(self) -> dict[str, Any]:
        """What a plan says of it: what it is called, and which one it is."""
        names = ("datname", "schemaname", "relname", "indexrelname", "oid")
        return {name: getattr(self, name) for name in names}

    @property
    def condition(self) -> str:
        """The rows that are in the index, as the WHERE clause of a query; empty where all are."""
        return f"where {self.predicate}" if self.predicate else ""


async def vector_indexes(
    connection: Connection,
    names: tuple[str | None, str | None, str | None] = (None, None, None),
    *,
    oids: Sequence[int] | None = None,
) -> list[VectorIndex]:
    """Those of the database of `connection`, by schema, table and index (None: any), or by object id."""
    found = []
    for record in await connection.fetch(_SQL, *names, oids):
        values = dict(record)
        method = Method(values.pop("method"))
        options = json.loads(values.pop("options") or "{}")
        found.append(VectorIndex(method=method, options=parse_options(method, options), **values))
    return found
