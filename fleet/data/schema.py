"""The tables of a live database, read from its catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.connections import Connection, Record
from fleet.data.tables import Column, ForeignKey, Table
from fleet.data.types import family_of


async def read_tables(connection: Connection) -> list[Table]:
    """Every table that is not an extension's, by schema and name; a partitioned one stands for its partitions."""
    types = {record["oid"]: record for record in await connection.fetch(_TYPES)}
    keys: dict[int, list[ForeignKey]] = {}
    for record in await connection.fetch(_FOREIGN_KEYS):
        key = ForeignKey(tuple(record["columns"]), (record["schema"], record["parent"]), tuple(record["parents"]))
        keys.setdefault(record["conrelid"], []).append(key)
    columns: dict[int, list[Column]] = {}
    for record in await connection.fetch(_COLUMNS):
        columns.setdefault(record["attrelid"], []).append(_column(record, types))
    return [
        Table(
            schema_name=record["nspname"],
            name=record["relname"],
            quoted=record["quoted"],
            source=record["quoted"] if record["relkind"] == "p" else f"only {record['quoted']}",
            columns=tuple(columns.get(record["oid"], ())),
            foreign_keys=tuple(keys.get(record["oid"], ())),
            foreign=record["is_foreign"],
            rows=record["rows"],
        )
        for record in await connection.fetch(_TABLES)
    ]


def _column(record: Record, types: Mapping[int, Record]) -> Column:
    kind, modifier, array = types[record["atttypid"]], record["atttypmod"], False
    while (kind["typtype"] == "d") or (kind["typcategory"] == "A" and kind["typelem"]):
        if kind["typtype"] == "d":
            modifier = kind["typtypmod"] if modifier < 0 else modifier
            kind = types[kind["typbasetype"]]
        else:
            kind, array = types[kind["typelem"]], True
    name = kind["typname"]
    return Column(
        name=record["attname"],
        quoted=record["quoted"],
        type=record["type"],
        base=name,
        family=family_of(name, kind["typtype"], kind["nspname"], kind["extname"]),
        array=array,
        not_null=record["not_null"],
        unique=record["is_unique"],
        length=modifier - 4 if modifier >= 4 and name in {"varchar", "bpchar"} else 63 if name == "name" else None,
    )


_OURS = """
    c.relpersistence <> 't' and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    and not c.relispartition and c.relkind in ('r', 'p', 'f')
    and not exists (
        select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
"""
_TABLES = f"""
    select c.oid, n.nspname::text, c.relname::text, c.relkind::text, format('%I.%I', n.nspname, c.relname) as quoted,
        coalesce(leaves.reltuples, greatest(c.reltuples, 0))::bigint as rows,
        c.relkind = 'f' or coalesce(leaves.any_foreign, false) as is_foreign
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    left join lateral (
        select sum(greatest(l.reltuples, 0)) as reltuples, bool_or(l.relkind = 'f') as any_foreign
        from pg_partition_tree(c.oid) as t join pg_class l on l.oid = t.relid
        where t.isleaf and c.relkind = 'p') as leaves on true
    where {_OURS}
    order by 2, 3
"""  # noqa: S608 - of constants alone
_COLUMNS = f"""
    select a.attrelid, a.attname::text, format('%I', a.attname) as quoted, a.atttypid, a.atttypmod,
        format_type(a.atttypid, a.atttypmod) as type,
        a.attnotnull or (t.typtype = 'd' and t.typnotnull) as not_null,
        exists (
            select from pg_index i where i.indrelid = a.attrelid and (i.indisunique or i.indisexclusion)
                and (a.attnum = any (i.indkey) or exists (
                    select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                        and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid
                        and d.refobjsubid = a.attnum))) as is_unique
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type t on t.oid = a.atttypid
    where a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and {_OURS}
    order by a.attrelid, a.attnum
"""  # noqa: S608 - of constants alone
_TYPES = """
    select t.oid, t.typname::text, t.typtype::text, t.typcategory::text, t.typbasetype, t.typelem, t.typtypmod,
        n.nspname::text, e.extname::text
    from pg_type t
    join pg_namespace n on n.oid = t.typnamespace
    left join pg_depend d on d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'
        and d.refclassid = 'pg_extension'::regclass
    left join pg_extension e on e.oid = d.refobjid
"""
_FOREIGN_KEYS = """
    select k.conrelid, n.nspname::text as schema, p.relname::text as parent,
        (select array_agg(a.attname::text order by place) from unnest(k.conkey) with ordinality as u(number, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = number) as columns,
        (select array_agg(a.attname::text order by place) from unnest(k.confkey) with ordinality as u(number, place)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = number) as parents
    from pg_constraint k
    join pg_class p on p.oid = k.confrelid
    join pg_namespace n on n.oid = p.relnamespace
    where k.contype = 'f' and k.conparentid = 0
    order by k.conrelid, k.oid
"""
