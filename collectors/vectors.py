"""Every pgvector index: parameters, size, and how much of its table was there when it was built.

An IVFFlat index learns its lists from the rows present at its build: one built on few of them finds less.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from collectors import Collector, Family, Rows, Session, Target, gauge, info
from collectors._catalog import fill
from fleet.durations import Duration
from fleet.vectors import Method
from fleet.vectors.catalogue import BLOCKS, ROWS
from fleet.vectors.costs import Shape, build_memory, index_bytes
from fleet.vectors.recommended import most_dimensions

_LABELS = ("datname", "schemaname", "relname", "indexrelname")
_EXTENSION = Family(("datname", "version"), (info("vector_extension_info", "Version of the extension pgvector"),))
_INFO = Family(
    ("method", "opclass", "column", "dimensions", *_LABELS),
    (info("vector_index_info", "What the index is; column is the expression where it indexes one"),),
)
_INDEXES = Family(
    _LABELS,
    (
        gauge("vector_index_lists", "Lists of an IVFFlat index"),
        gauge("vector_index_max_connections", "Most connections of an element in a layer of an HNSW index"),
        gauge("vector_index_ef_construction", "Candidates looked at when an element is added to an HNSW index"),
        gauge("vector_index_size_bytes", "The index, in bytes"),
        gauge("vector_index_rows", "Rows of the table now, estimated"),
        gauge("vector_index_dead_ratio", "Dead rows of the table, of all its rows (0 to 1), estimated"),
        gauge("vector_index_before_extension", "1 when pgvector was updated after the index was built, else 0"),
        gauge("vector_index_expected_size_bytes", "What it would take if it was built now, in bytes, estimated"),
        gauge("vector_index_build_memory_bytes", "maintenance_work_mem that its build needs now, in bytes, estimated"),
        gauge("vector_index_parameters_changed", "1 when Custode saw its parameters change and no build since, else 0"),
        gauge("vector_index_build_rows", "Rows of the table that were there when the index was built, estimated"),
    ),
)

_EXTENSION_SQL = "select current_database(), extversion, 1 from pg_catalog.pg_extension where extname = 'vector'"

# To read a column's expression takes a lock on its table, a plain column's name does not.
# Parameters that are not set have pgvector's defaults: its README, "HNSW" and "IVFFlat", index options.
# Rows: what the statistics count, or where they are empty (a restart after a crash) the planner's estimate. Before
# PostgreSQL 14 an unknown reltuples is 0 and not -1; relpages is 0 as well then.
# Built: pg_index's row is as old as the index, or where CONCURRENTLY made it valid, as the end of its build. A rebuild
# in place (REINDEX, TRUNCATE, VACUUM FULL) shows in a new file and a new pg_class row only.
# The sample is of about a thousand blocks and repeatable, lest the estimate dances. What age() finds negative is
# more than 2^31 transactions old, that is frozen long ago. A changed row counts as a new one.
_SQL = """
    with {locked}, found as (
        select m.amname, o.opcname,
            case when x.indkey[0] <> 0 then c.attname::text
                when lt.relation is null then pg_get_indexdef(i.oid, 1, true) end as key,
            a.atttypmod as dimensions,
            current_database() as datname, n.nspname, t.relname, i.relname as indexrelname,
            (select jsonb_object_agg(option_name, option_value) from pg_options_to_table(i.reloptions)) as options,
            case when li.relation is null then pg_relation_size(i.oid) end as size,
            lt.relation is not null as locked,
            has_table_privilege(t.oid, 'select') and has_schema_privilege(n.oid, 'usage')
                and not row_security_active(t.oid) as readable,
            {rows} as rows,
            case when lt.relation is null then pg_relation_size(t.oid) end
                / current_setting('block_size')::float8 as blocks,
            case when i.relfilenode = i.oid then age(x.xmin)
                else least(age(x.xmin), age(i.xmin)) end as built,
            (select age(e.xmin) from pg_catalog.pg_extension e where e.extname = 'vector') as updated,
            pg_stat_get_dead_tuples(t.oid)::float8
                / nullif(pg_stat_get_live_tuples(t.oid) + pg_stat_get_dead_tuples(t.oid), 0) as dead,
            i.oid, i.relfilenode
        from pg_catalog.pg_index x
            join pg_catalog.pg_class i on i.oid = x.indexrelid
            join pg_catalog.pg_am m on m.oid = i.relam
            join pg_catalog.pg_opclass o on o.oid = x.indclass[0]
            join pg_catalog.pg_attribute a on a.attrelid = i.oid and a.attnum = 1
            join pg_catalog.pg_class t on t.oid = x.indrelid
            join pg_catalog.pg_namespace n on n.oid = t.relnamespace
            left join pg_catalog.pg_attribute c on c.attrelid = t.oid and c.attnum = x.indkey[0]
            left join locked lt on lt.relation = t.oid
            left join locked li on li.relation = i.oid
        where m.amname in {vector_methods} and i.relkind = 'i' and i.relpersistence <> 't' and {user_schemas}
    )
    select amname, opcname, key, nullif(dimensions, -1)::text as dimensions, datname, nspname, relname, indexrelname,
        case amname when 'ivfflat' then coalesce((options->>'lists')::int, 100) end,
        case amname when 'hnsw' then coalesce((options->>'m')::int, 16) end,
        case amname when 'hnsw' then coalesce((options->>'ef_construction')::int, 64) end,
        size, rows, dead,
        -- a frozen row is older than any other: its age is the largest there is, or negative
        case when built < 0 or built = 2147483647 then null else (updated >= 0 and updated < built)::int end,
        readable, oid, relfilenode,
        case when readable and not locked and built >= 0 and blocks > 0 then format(
            'select avg((age(xmin) >= %s or age(xmin) < 0)::int)::float8'
                || ' from %I.%I tablesample system (%s) repeatable (0)',
            built, nspname, relname, least(100, 100000 / blocks)
        ) end as sample
    from found
""".replace("{rows}", ROWS.replace("{blocks}", f"case when lt.relation is null then {BLOCKS} end"))


class VectorsCollector(Collector):
    name = "vectors"
    summary = "parameters, size, and rows, of every pgvector index and of its build"
    families = (_EXTENSION, _INFO, _INDEXES)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=30)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._built: dict[tuple[str, int], tuple[int, tuple[Any, ...]]] = {}  # file and parameters, by database and oid

    async def collect(self, target: Target) -> list[Rows]:
        extensions: list[Any] = []

        async def read(session: Session) -> list[tuple[Any, float | None]]:
            installed = await session.fetch(_EXTENSION_SQL)
            extensions.extend(installed)
            if not installed:
                return []
            return [(index, await _build_rows(target, session, index)) for index in await session.fetch(fill(_SQL))]

        indexes = await target.each(read)
        return [
            _EXTENSION.rows(extensions, keep=len(extensions)),
            _INFO.rows([(*index[:8], 1) for index, _ in indexes if index["key"]], keep=len(indexes)),
            _INDEXES.rows(
                [
                    (*index[4:15], *_estimates(index), changed, built)
                    for (index, built), changed in zip(indexes, self._changes([one for one, _ in indexes]), strict=True)
                ],
                keep=len(indexes),
            ),
        ]

    def _changes(self, indexes: Sequence[Any]) -> list[int]:
        """Which were given other parameters since they were built: that shows nowhere, it has to be seen happen."""
        known, self._built = self._built, {}
        for index in indexes:
            key, file, parameters = (index["datname"], index["oid"]), index["relfilenode"], tuple(index[8:11])
            before = known.get(key)
            same_file = before is not None and before[0] == file
            self._built[key] = before if before is not None and same_file else (file, parameters)
        return [int(self._built[index["datname"], index["oid"]][1] != tuple(index[8:11])) for index in indexes]


def _estimates(index: Any) -> tuple[float | None, float | None]:
    """Bytes on the disk and in memory, of a build now; None where the type has no fixed size."""
    kind, rows = str(index["opcname"]).partition("_")[0], index["rows"]
    if index["dimensions"] is None or rows is None or most_dimensions(kind) is None:
        return None, None
    options = {"lists": index[8], "m": index[9], "ef_construction": index[10]}
    given = {name: value for name, value in options.items() if value is not None}
    shape = Shape(Method(index["amname"]), kind, int(index["dimensions"]), given)
    return index_bytes(shape, rows), build_memory(shape, rows)


async def _build_rows(target: Target, session: Session, index: Any) -> float | None:
    """Estimate how many rows were there at the build; None where that cannot be known now."""
    sample, rows = index["sample"], index["rows"]
    if not index["readable"]:
        table = ".".join(index[4:7])
        target.gap(f"rows of {table} at the build of its indexes", "needs SELECT on the table, without row security")
    if sample is None or rows is None:
        return None
    try:
        ((fraction,),) = await session.fetch(sample)
    except (asyncpg.LockNotAvailableError, asyncpg.UndefinedTableError):
        return None  # locked or dropped meanwhile; the other indexes are not concerned
    return None if fraction is None else fraction * rows
