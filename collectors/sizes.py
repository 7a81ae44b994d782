"""Sizes of databases, tables and indexes. Apart from the rest of them: to read a size is to walk files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from operator import itemgetter
from typing import Any

from collectors import Collector, Family, Rows, Target, gauge
from collectors._catalog import fill
from fleet.durations import Duration

_DATABASES = Family(("datname",), (gauge("database_size_bytes", "All files of the database, in bytes"),))
_TABLES = Family(
    ("datname", "schemaname", "relname"),
    (
        gauge("table_size_bytes", "Rows of the table, without TOAST and indexes, in bytes"),
        gauge("table_toast_size_bytes", "Rows of its TOAST table, in bytes; absent without one"),
        gauge("table_indexes_size_bytes", "All its indexes, in bytes"),
    ),
)
_INDEXES = Family(
    ("datname", "schemaname", "relname", "indexrelname"),
    (
        gauge("index_size_bytes", "The index, in bytes"),
        gauge("index_bytes_per_tuple", "Bytes for each entry, as of the last vacuum, analyze or build"),
        gauge("index_best_bytes_per_tuple", "The least it took since it was built, or since Custode saw it first"),
    ),
)
# of less the ratio says little: pg_index_watch's minimum_reliable_index_size
_RELIABLE_BYTES = 128 * 1024

_DATABASES_SQL = """
    select datname, case when connectable then pg_database_size(oid) end, connectable
    from (
        select oid, datname, has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'usage')
            as connectable
        from pg_catalog.pg_database where datconnlimit <> -2  -- what a failed DROP DATABASE leaves
    ) d
"""

# Opening a relation waits behind an exclusive lock, so those under one have no size this time.
# The main fork only: the others (free space, visibility) are thousandths and would cost two more looks each.
_RELATIONS_SQL = """
    with {locked}, tables as materialized (
        select c.oid, n.nspname, c.relname,
            case when l.relation is null then pg_relation_size(c.oid) end as size,
            case when lt.relation is null then pg_relation_size(nullif(c.reltoastrelid, 0)) end as toast
        from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            left join locked l on l.relation = c.oid
            left join locked lt on lt.relation = c.reltoastrelid
        where c.relkind in ('r', 'm') and c.relpersistence <> 't' and {user_schemas}
    ), indexes as materialized (
        select t.oid, t.nspname, t.relname, i.relname as indexrelname,
            not x.indisvalid or m.amname in {vector_methods} as kept,
            case when l.relation is null then pg_relation_size(i.oid) end as size,
            i.oid as index_oid, i.relfilenode, i.relpages * current_setting('block_size')::float8 as counted,
            i.relpages * current_setting('block_size')::float8 / nullif(greatest(i.reltuples, 0), 0) as ratio
        from tables t
            join pg_catalog.pg_index x on x.indrelid = t.oid
            join pg_catalog.pg_class i on i.oid = x.indexrelid
            join pg_catalog.pg_am m on m.oid = i.relam
            left join locked l on l.relation = i.oid
        where i.relkind = 'i' and i.relpersistence <> 't'
    )
    select false as kept, t.size, current_database(), t.nspname, t.relname, null as indexrelname, t.toast,
        case when i.unknown then null else coalesce(i.size, 0) end as indexes,
        null::oid as oid, null::oid as relfilenode, null::float8 as counted, null::float8 as ratio
    from tables t left join (
        select oid, sum(size)::int8 as size, bool_or(size is null) as unknown from indexes group by 1
    ) i on i.oid = t.oid
    union all
    select kept, size, current_database(), nspname, relname, indexrelname, null, null,
        index_oid, relfilenode, counted, ratio
    from indexes where size is not null
"""


class SizesCollector(Collector):
    name = "sizes"
    summary = "bytes of every database, table and index"
    families = (_DATABASES, _TABLES, _INDEXES)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=30)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._best: dict[tuple[str, int], tuple[int, float]] = {}  # database and index: its file, and the least ratio

    async def collect(self, target: Target) -> list[Rows]:
        databases = await target.fetch(_DATABASES_SQL)
        for name, _, connectable in databases:
            if not connectable:
                target.gap(f"size of database {name}", "needs CONNECT on it, or membership of pg_monitor")
        relations = await target.fetch_each(fill(_RELATIONS_SQL))
        relations.sort(key=_order, reverse=True)
        indexes = [record for record in relations if record["indexrelname"] is not None]
        return [
            _DATABASES.rows([record[:2] for record in databases]),
            _TABLES.rows([(*r[2:5], r[1], *r[6:8]) for r in relations if r["indexrelname"] is None]),
            _INDEXES.rows(
                [(*r[2:6], r[1], r["ratio"], best) for r, best in zip(indexes, self._bests(indexes), strict=True)],
                keep=sum(map(itemgetter(0), indexes)),
            ),
        ]

    def _bests(self, indexes: Sequence[Any]) -> list[float | None]:
        """What each index took for an entry at its best; a build, in a new file, begins anew."""
        known, self._best = self._best, {}
        for record in indexes:
            key, file, ratio = (record[2], record["oid"]), record["relfilenode"], record["ratio"]
            before = known.get(key)
            least = before[1] if before is not None and before[0] == file else None
            if ratio is not None and record["counted"] >= _RELIABLE_BYTES:
                least = ratio if least is None else min(least, ratio)
            if least is not None:
                self._best[key] = (file, least)
        return [self._best.get((record[2], record["oid"]), (0, None))[1] for record in indexes]


def _order(record: Any) -> tuple[bool, int]:
    return record[0], record[1] or 0
