"""Each database's share of the work, from the statistics system, and its distance to transaction id wraparound."""

from __future__ import annotations

from collectors import Collector, Family, Rows, Target, counter, gauge

_DATABASES = Family(
    ("datname",),
    (
        gauge("database_sessions", "Sessions connected now"),
        gauge("database_connection_limit", "Most connections allowed; absent where there is no limit of its own"),
        gauge("database_xid_age", "Transactions since the oldest unfrozen transaction id; wraparound is at 2^31"),
        gauge("database_multixact_age", "Multixacts since the oldest multixact id; wraparound is at 2^31"),
        gauge("database_stats_reset_timestamp_seconds", "When the statistics were last reset, in unix seconds"),
        counter("database_commits_total", "Transactions committed"),
        counter("database_rollbacks_total", "Transactions rolled back"),
        counter("database_blocks_read_total", "Blocks read from the operating system"),
        counter("database_blocks_hit_total", "Blocks found in shared buffers"),
        counter("database_block_read_seconds_total", "Seconds spent reading blocks, where track_io_timing is on"),
        counter("database_block_write_seconds_total", "Seconds spent writing blocks, where track_io_timing is on"),
        counter("database_tuples_returned_total", "Rows read by sequential scans and index entries read"),
        counter("database_tuples_fetched_total", "Rows fetched by index scans"),
        counter("database_tuples_inserted_total", "Rows inserted"),
        counter("database_tuples_updated_total", "Rows updated"),
        counter("database_tuples_deleted_total", "Rows deleted"),
        counter("database_conflicts_total", "Queries cancelled by recovery conflicts, on a standby"),
        counter("database_temp_files_total", "Temporary files written by queries"),
        counter("database_temp_bytes_total", "Bytes written to temporary files by queries"),
        counter("database_deadlocks_total", "Deadlocks detected"),
        counter("database_checksum_failures_total", "Pages with a wrong checksum; absent where checksums are off"),
        counter("database_sessions_established_total", "Sessions established (PostgreSQL 14+)"),
        counter("database_sessions_abandoned_total", "Sessions lost by their client (PostgreSQL 14+)"),
        counter("database_sessions_fatal_total", "Sessions ended by a fatal error (PostgreSQL 14+)"),
        counter("database_sessions_killed_total", "Sessions ended by an operator (PostgreSQL 14+)"),
        counter("database_session_seconds_total", "Seconds spent in sessions (PostgreSQL 14+)"),
        counter("database_active_seconds_total", "Seconds spent executing statements (PostgreSQL 14+)"),
        counter("database_idle_in_transaction_seconds_total", "Seconds spent idle in transactions (PostgreSQL 14+)"),
    ),
)

_CONFLICTS = Family(
    ("datname", "reason"),
    (counter("recovery_conflicts_total", "Queries cancelled on a standby, by what they stood in the way of"),),
)

# since PostgreSQL 14
_SESSION_TOTALS = """
    s.sessions, s.sessions_abandoned, s.sessions_fatal, s.sessions_killed,
    s.session_time / 1000, s.active_time / 1000, s.idle_in_transaction_time / 1000
"""
_NO_SESSION_TOTALS = ", ".join(["null::float8"] * 7)

_SQL = """
    select d.datname, s.numbackends, nullif(d.datconnlimit, -1), age(d.datfrozenxid), mxid_age(d.datminmxid),
        date_part('epoch', s.stats_reset),
        s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit, s.blk_read_time / 1000, s.blk_write_time / 1000,
        s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted,
        s.conflicts, s.temp_files, s.temp_bytes, s.deadlocks, s.checksum_failures,
        {session_totals}
    from pg_catalog.pg_database d join pg_catalog.pg_stat_database s on s.datid = d.oid
    where d.datconnlimit <> -2  -- what a failed DROP DATABASE leaves
"""

# since PostgreSQL 16
_SLOT_CONFLICTS = ", ('logicalslot', c.confl_active_logicalslot)"

_CONFLICTS_SQL = """
    select c.datname, k.reason, k.count
    from pg_catalog.pg_stat_database_conflicts c cross join lateral (values
        ('tablespace', c.confl_tablespace), ('lock', c.confl_lock), ('snapshot', c.confl_snapshot),
        ('bufferpin', c.confl_bufferpin), ('deadlock', c.confl_deadlock) {slot_conflicts}
    ) k(reason, count)
"""


class DatabasesCollector(Collector):
    name = "databases"
    summary = "transactions, blocks, rows, temporary files, sessions and wraparound age of each database"
    families = (_DATABASES, _CONFLICTS)

    async def collect(self, target: Target) -> list[Rows]:
        async with target.session() as session:
            version = session.server.version
            sql = _SQL.format(session_totals=_SESSION_TOTALS if version >= 140000 else _NO_SESSION_TOTALS)
            rows = [_DATABASES.rows(await session.fetch(sql))]
            if session.server.in_recovery:
                sql = _CONFLICTS_SQL.format(slot_conflicts=_SLOT_CONFLICTS if version >= 160000 else "")
                rows.append(_CONFLICTS.rows(await session.fetch(sql)))
        return rows
