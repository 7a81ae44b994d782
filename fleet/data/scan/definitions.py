"""Personal data where no row holds it: in the planner's statistics, in definitions and comments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from fleet.connections import Connection, Record
from fleet.data.kinds import Kind
from fleet.data.scan.columns import Column, Content, Table
from fleet.data.scan.findings import Finding, Options, Place
from fleet.data.scan.looking import Look

# of indexes on expressions too, under the name of the index
_STATISTICS = """
    select schemaname::text, tablename::text as relname, attname::text as column,
        unnest(array[most_common_vals::text, histogram_bounds::text, most_common_elems::text]) as value
    from pg_catalog.pg_stats
    where schemaname <> 'information_schema' and schemaname !~ '^pg_'
"""
_EXTENDED = """
    select schemaname::text, tablename::text as relname, statistics_name::text as column,
        unnest(most_common_vals) as value
    from pg_catalog.pg_stats_ext where schemaname <> 'information_schema' and schemaname !~ '^pg_'
"""
_EXTENDED_EXPRESSIONS = """
    select schemaname::text, tablename::text as relname, statistics_name::text as column,
        unnest(array[most_common_vals::text, histogram_bounds::text, most_common_elems::text]) as value
    from pg_catalog.pg_stats_ext_exprs where schemaname <> 'information_schema' and schemaname !~ '^pg_'
"""
_SINCE_14 = 14
_DEFINITIONS = """
    with extension_owned as (
        select classid, objid from pg_catalog.pg_depend where deptype = 'e'
    ), ours as (
        select c.oid, n.nspname, c.relname, c.relkind
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
            and ('pg_catalog.pg_class'::regclass, c.oid) not in (select classid, objid from extension_owned)
    )
    select nspname::text as schemaname, relname::text, 'definition' as column, pg_get_viewdef(oid) as value
    from ours where relkind in ('v', 'm')
    union all
    select o.nspname, o.relname, a.attname, pg_get_expr(d.adbin, d.adrelid)
    from ours o join pg_catalog.pg_attrdef d on d.adrelid = o.oid
    join pg_catalog.pg_attribute a on a.attrelid = o.oid and a.attnum = d.adnum
    union all
    select o.nspname, o.relname, k.conname, pg_get_constraintdef(k.oid)
    from ours o join pg_catalog.pg_constraint k on k.conrelid = o.oid
    union all
    select o.nspname, o.relname, 'partition bound', pg_get_expr(c.relpartbound, c.oid)
    from ours o join pg_catalog.pg_class c using (oid) where c.relpartbound is not null
    union all
    select o.nspname, o.relname, 'definition', pg_get_indexdef(o.oid)
    from ours o where o.relkind = 'i'
    union all
    select o.nspname, o.relname, t.tgname, pg_get_triggerdef(t.oid)
    from ours o join pg_catalog.pg_trigger t on t.tgrelid = o.oid where not t.tgisinternal
    union all
    select o.nspname, o.relname, p.polname,
        concat_ws(' ', pg_get_expr(p.polqual, o.oid), pg_get_expr(p.polwithcheck, o.oid))
    from ours o join pg_catalog.pg_policy p on p.polrelid = o.oid
    union all
    select n.nspname, p.proname, 'source', concat_ws(' ', p.prosrc, pg_get_expr(p.proargdefaults, 0))
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
        and ('pg_catalog.pg_proc'::regclass, p.oid) not in (select classid, objid from extension_owned)
    union all
    select n.nspname, t.typname, 'label', e.enumlabel
    from pg_catalog.pg_enum e join pg_catalog.pg_type t on t.oid = e.enumtypid
    join pg_catalog.pg_namespace n on n.oid = t.typnamespace
    union all
    select n.nspname, t.typname, 'domain', concat_ws(' ', t.typdefault, (
        select string_agg(pg_get_constraintdef(k.oid), ' ') from pg_catalog.pg_constraint k where k.contypid = t.oid))
    from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.typtype = 'd'
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
    union all
    select coalesce(o.nspname, ''), coalesce(o.relname, ''), 'comment', d.description
    from pg_catalog.pg_description d
    left join ours o on d.classoid = 'pg_catalog.pg_class'::regclass and o.oid = d.objoid
    where d.objoid >= 16384 and (d.classoid, d.objoid) not in (select classid, objid from extension_owned)
        and d.classoid <> 'pg_catalog.pg_extension'::regclass
    union all
    select '', current_database(), 'comment', shobj_description(oid, 'pg_database')
    from pg_catalog.pg_database where datname = current_database()
    union all
    select coalesce(o.nspname, ''), coalesce(o.relname, ''), 'security label', l.label
    from pg_catalog.pg_seclabel l
    left join ours o on l.classoid = 'pg_catalog.pg_class'::regclass and o.oid = l.objoid
    union all
    select o.nspname, o.relname, 'options', array_to_string(a.attfdwoptions, ' ')
    from ours o join pg_catalog.pg_attribute a on a.attrelid = o.oid where a.attfdwoptions is not null
    union all
    select '', current_database(), 'settings', array_to_string(s.setconfig, ' ')
    from pg_catalog.pg_db_role_setting s where s.setdatabase = (
        select oid from pg_catalog.pg_database where datname = current_database())
"""


async def scan_statistics(
    connection: Connection, options: Options, tables: Sequence[Table], words: dict[str, bool]
) -> list[Finding]:
    """What the planner remembers of values, those of rows that are gone too. Raises asyncpg.PostgresError."""
    records = await connection.fetch(_STATISTICS) + await connection.fetch(_EXTENDED)
    if connection.get_server_version().major >= _SINCE_14:
        records += await connection.fetch(_EXTENDED_EXPRESSIONS)
    known = {column.key: column for table in tables for column in table.columns}
    harmless = {(table.schemaname, table.relname, name) for table in tables for name in table.harmless}
    found = [record for record in records if _key(record) not in harmless and not _is_of_numbers(record, known)]
    return await asyncio.to_thread(_look, found, options, known, words, "statistics")


async def scan_definitions(connection: Connection, options: Options, words: dict[str, bool]) -> list[Finding]:
    """Views, defaults, checks, functions, labels of enums, comments. Raises asyncpg.PostgresError."""
    return await asyncio.to_thread(_look, await connection.fetch(_DEFINITIONS), options, {}, words, "catalogue")


def _key(record: Record) -> tuple[str, str, str]:
    return record["schemaname"], record["relname"], record["column"]


def _is_of_numbers(record: Record, known: Mapping[tuple[str, str, str], Column]) -> bool:
    # a few of them say nothing; the rows do
    column = known.get(_key(record))
    return column is not None and column.content in {Content.NUMBER, Content.NETWORK}


def _look(
    records: Iterable[Record],
    options: Options,
    known: Mapping[tuple[str, str, str], Column],
    words: dict[str, bool],
    place: Place,
) -> list[Finding]:
    values: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        if record["value"]:
            values.setdefault(_key(record), []).append(record["value"])
    found: list[Finding] = []
    for key, texts in values.items():
        content = known[key].content if key in known else Content.TEXT
        look = Look(Column(*key, quoted="", content=content), options, words)
        look.take(texts)
        found += [Finding(*key, kind, count, place) for kind, count in look.counts().items() if kind is not Kind.UNREAD]
    return found
