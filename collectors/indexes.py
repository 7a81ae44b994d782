"""Every index: what it is, whether it is valid, how it is used, and those being built. Sizes are in `sizes`."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from collectors import Collector, Family, Rows, Session, Target, counter, gauge, info
from collectors._catalog import fill
from fleet.index_builds import BuildProgress

_LABELS = ("datname", "schemaname", "relname", "indexrelname")
_INFO = Family(
    ("method", "opclass", "unique", "primary", "constraint", *_LABELS),
    (info("index_info", "What the index is: opclass of its first column, whether a constraint stands on it"),),
)
_INDEXES = Family(
    _LABELS,
    (
        gauge("index_valid", "1 when queries may use it, 0 when its build failed or is not finished"),
        gauge("index_tuples", "Entries as of the last vacuum or analyze, estimated; absent before that"),
        counter("index_scans_total", "Scans of the index"),
        counter("index_tuples_read_total", "Entries that scans returned"),
        counter("index_tuples_fetched_total", "Live rows fetched by simple scans of the index"),
        gauge("index_last_scan_timestamp_seconds", "When it was last used, in unix seconds (PostgreSQL 16+)"),
        counter("index_blocks_read_total", "Blocks of the index read from the operating system"),
        counter("index_blocks_hit_total", "Blocks of the index found in shared buffers"),
    ),
)
_BUILDS = Family(
    (*_LABELS, "command", "phase"),
    (
        gauge("index_build_blocks_done", "Blocks that the present phase of the build has processed"),
        gauge("index_build_blocks", "Blocks that the present phase of the build has to process"),
        gauge("index_build_tuples_done", "Rows that the present phase of the build has processed"),
        gauge("index_build_tuples", "Rows that the present phase of the build has to process"),
        gauge("index_build_progress_ratio", "How much of the whole build is done (0 to 1), estimated by its phases"),
        gauge("index_build_remaining_seconds", "How long the build takes from now on, estimated; absent as it waits"),
    ),
)

# until PostgreSQL 13, 0 stands for unknown as well as for none
_TUPLES = "case when i.relpages > 0 then i.reltuples end"
# since PostgreSQL 14, -1 stands for unknown
_TUPLES_14 = "nullif(i.reltuples, -1)"
_NO_LAST_SCAN = "null"
# since PostgreSQL 16
_LAST_SCAN_16 = "date_part('epoch', pg_stat_get_lastscan(i.oid))"

# One statement for two families: a second one would read and send the same thousand names again.
# The first two columns are the order in which a limit on the number of series cuts: kept in any case, then by size.
_SQL = """
    select not x.indisvalid or m.amname in {vector_methods}, i.relpages,
        m.amname, o.opcname, x.indisunique, x.indisprimary,
        i.oid in (select conindid from pg_catalog.pg_constraint where conindid <> 0),
        current_database(), n.nspname, t.relname, i.relname,
        x.indisvalid::int, ({tuples})::float8,
        pg_stat_get_numscans(i.oid), pg_stat_get_tuples_returned(i.oid), pg_stat_get_tuples_fetched(i.oid),
        ({last_scan})::float8,
        pg_stat_get_blocks_fetched(i.oid) - pg_stat_get_blocks_hit(i.oid), pg_stat_get_blocks_hit(i.oid)
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_class t on t.oid = x.indrelid
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
        join pg_catalog.pg_am m on m.oid = i.relam
        left join pg_catalog.pg_opclass o on o.oid = x.indclass[0]
    where i.relkind = 'i' and i.relpersistence <> 't' and {user_schemas}
"""

_COLUMNS = 19

# The index of a plain CREATE INDEX is not visible yet, and has no name here.
_BUILDS_SQL = """
    select p.datname, n.nspname, t.relname, i.relname, p.command, p.phase,
        sum(p.blocks_done)::int8, sum(p.blocks_total)::int8, sum(p.tuples_done)::int8, sum(p.tuples_total)::int8,
        extract(epoch from clock_timestamp() - min(a.query_start))::float8
    from pg_catalog.pg_stat_progress_create_index p
        left join pg_catalog.pg_stat_activity a on a.pid = p.pid
        join pg_catalog.pg_class t on t.oid = p.relid
        join pg_catalog.pg_namespace n on n.oid = t.relnamespace
        left join pg_catalog.pg_class i on i.oid = p.index_relid
    where p.datname = current_database()
    group by 1, 2, 3, 4, 5, 6
"""


class IndexesCollector(Collector):
    name = "indexes"
    summary = "kind, validity, scans, tuples and blocks of every index, and the progress of builds"
    families = (_INFO, _INDEXES, _BUILDS)

    async def collect(self, target: Target) -> list[Rows]:
        builds: list[Any] = []

        async def read(session: Session) -> list[Any]:
            indexes = await session.fetch(_sql(session.server.version))
            builds.extend(map(_build, await session.fetch(_BUILDS_SQL)))
            return indexes

        records = await target.each(read)
        kept = 0
        series = len(records) * len(_INFO.metrics + _INDEXES.metrics) + len(builds) * len(_BUILDS.metrics)
        if series > self.options.max_series:  # else nobody will cut
            records.sort(key=itemgetter(0, 1), reverse=True)
            kept = sum(record[0] for record in records)
        columns = tuple(zip(*records, strict=True)) or ((),) * _COLUMNS
        return [
            _INFO.columns((*columns[2:11], (1,) * len(records)), keep=kept),
            _INDEXES.columns(columns[7:], keep=kept),
            _BUILDS.rows(builds, keep=len(builds)),
        ]


def _build(record: Any) -> tuple[Any, ...]:
    """A record of a build, with how far it is; `elapsed` seconds are told to those only who may see the session."""
    *told, elapsed = record
    progress = BuildProgress(*told[4:6], *(count or 0 for count in told[6:]))
    remaining = None if elapsed is None else progress.remaining_seconds(elapsed)
    return (*told, progress.ratio, remaining)


def _sql(version: int) -> str:
    return fill(
        _SQL,
        tuples=_TUPLES_14 if version >= 140000 else _TUPLES,
        last_scan=_LAST_SCAN_16 if version >= 160000 else _NO_LAST_SCAN,
    )
