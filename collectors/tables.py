"""Every table and materialized view: rows, scans, changes, vacuum and analyze, blocks. Sizes are in `sizes`."""

from __future__ import annotations

from collectors import Collector, Family, Rows, Target, counter, gauge
from collectors._catalog import fill

_TABLES = Family(
    ("datname", "schemaname", "relname"),
    (
        gauge("table_live_tuples", "Live rows, estimated"),
        gauge("table_dead_tuples", "Dead rows, estimated"),
        gauge("table_modified_since_analyze", "Rows changed since the last analyze, estimated"),
        gauge("table_inserted_since_vacuum", "Rows inserted since the last vacuum, estimated"),
        counter("table_seq_scans_total", "Sequential scans"),
        counter("table_seq_tuples_read_total", "Rows read by sequential scans"),
        counter("table_index_scans_total", "Scans of its indexes; absent without indexes"),
        counter("table_index_tuples_fetched_total", "Rows fetched by index scans; absent without indexes"),
        counter("table_tuples_inserted_total", "Rows inserted"),
        counter("table_tuples_updated_total", "Rows updated, also the hot ones"),
        counter("table_tuples_deleted_total", "Rows deleted"),
        counter("table_tuples_hot_updated_total", "Rows updated without new index entries (HOT)"),
        gauge("table_last_vacuum_timestamp_seconds", "When it was last vacuumed by hand, in unix seconds"),
        gauge("table_last_autovacuum_timestamp_seconds", "When autovacuum last vacuumed it, in unix seconds"),
        gauge("table_last_analyze_timestamp_seconds", "When it was last analyzed by hand, in unix seconds"),
        gauge("table_last_autoanalyze_timestamp_seconds", "When autovacuum last analyzed it, in unix seconds"),
        counter("table_vacuum_total", "Vacuums by hand"),
        counter("table_autovacuum_total", "Vacuums by autovacuum"),
        counter("table_analyze_total", "Analyzes by hand"),
        counter("table_autoanalyze_total", "Analyzes by autovacuum"),
        counter("table_heap_blocks_read_total", "Blocks of the table read from the operating system"),
        counter("table_heap_blocks_hit_total", "Blocks of the table found in shared buffers"),
        counter("table_index_blocks_read_total", "Blocks of its indexes read from the operating system"),
        counter("table_index_blocks_hit_total", "Blocks of its indexes found in shared buffers"),
        counter("table_toast_blocks_read_total", "Blocks of its TOAST table read; absent without one"),
        counter("table_toast_blocks_hit_total", "Blocks of its TOAST table found in shared buffers"),
        gauge("table_indexes", "Its indexes that queries may use"),
        gauge("table_xid_age", "Transactions since its oldest unfrozen transaction id, TOAST included"),
    ),
)

# pg_stat_user_tables and pg_statio_user_tables group or join by table several times over; their functions are read
# directly, and the indexes are walked once. Partitioned tables have no rows of their own. Measured: a sum of float8 is
# a third of a sum of int8, which is a numeric; object ids below 16384 are initdb's (FirstNormalObjectId).
_SQL = """
    with index_totals as materialized (
        select indrelid,
            sum(pg_stat_get_numscans(indexrelid)::float8)::int8 as scans,
            sum(pg_stat_get_tuples_fetched(indexrelid)::float8)::int8 as fetched,
            sum(pg_stat_get_blocks_fetched(indexrelid)::float8)::int8 as blocks,
            sum(pg_stat_get_blocks_hit(indexrelid)::float8)::int8 as hit,
            count(*) filter (where indisvalid) as valid
        from pg_catalog.pg_index where indrelid >= 16384 group by indrelid
    )
    select current_database(), n.nspname, c.relname,
        pg_stat_get_live_tuples(c.oid), pg_stat_get_dead_tuples(c.oid),
        pg_stat_get_mod_since_analyze(c.oid), pg_stat_get_ins_since_vacuum(c.oid),
        pg_stat_get_numscans(c.oid), pg_stat_get_tuples_returned(c.oid),
        i.scans, i.fetched + pg_stat_get_tuples_fetched(c.oid),
        pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), pg_stat_get_tuples_deleted(c.oid),
        pg_stat_get_tuples_hot_updated(c.oid),
        date_part('epoch', pg_stat_get_last_vacuum_time(c.oid)),
        date_part('epoch', pg_stat_get_last_autovacuum_time(c.oid)),
        date_part('epoch', pg_stat_get_last_analyze_time(c.oid)),
        date_part('epoch', pg_stat_get_last_autoanalyze_time(c.oid)),
        pg_stat_get_vacuum_count(c.oid), pg_stat_get_autovacuum_count(c.oid),
        pg_stat_get_analyze_count(c.oid), pg_stat_get_autoanalyze_count(c.oid),
        pg_stat_get_blocks_fetched(c.oid) - pg_stat_get_blocks_hit(c.oid), pg_stat_get_blocks_hit(c.oid),
        i.blocks - i.hit, i.hit,
        pg_stat_get_blocks_fetched(t.oid) - pg_stat_get_blocks_hit(t.oid), pg_stat_get_blocks_hit(t.oid),
        coalesce(i.valid, 0),
        greatest(case when c.relfrozenxid <> '0' then age(c.relfrozenxid) end, age(t.relfrozenxid))
    from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        left join index_totals i on i.indrelid = c.oid
        left join pg_catalog.pg_class t on t.oid = c.reltoastrelid and t.relkind = 't'
    where c.relkind in ('r', 'm') and c.relpersistence <> 't' and {user_schemas}
    order by c.relpages desc
"""


class TablesCollector(Collector):
    name = "tables"
    summary = "rows, scans, changes, vacuum, analyze and blocks of every table"
    families = (_TABLES,)

    async def collect(self, target: Target) -> list[Rows]:
        return [_TABLES.rows(await target.fetch_each(fill(_SQL)))]
