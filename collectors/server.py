"""The server as a whole: version, settings, archiver, checkpoints, write-ahead log, replication."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from collectors import Collector, Family, Rows, Session, Target, counter, gauge, info

_INFO = Family(("version", "server_version_num"), (info("server_info", "Version of the server"),))
_SERVER = Family(
    (),
    (
        gauge("server_start_timestamp_seconds", "When the server was started, in unix seconds"),
        gauge("server_in_recovery", "1 on a standby or during recovery, else 0"),
        gauge("server_max_connections", "Most connections the server takes"),
        gauge("server_reserved_connections", "Connections of these that are reserved for superusers and special roles"),
        gauge("wal_position_bytes", "Write-ahead log written (on a standby: replayed) since its beginning, in bytes"),
        gauge(
            "replication_lag_seconds", "Age of the last replayed transaction; 0 when all is replayed, only on a standby"
        ),
        counter("archiver_archived_total", "WAL files archived"),
        counter("archiver_failed_total", "Failed attempts to archive a WAL file"),
        gauge("archiver_last_archived_timestamp_seconds", "When a WAL file was last archived, in unix seconds"),
        gauge("archiver_last_failed_timestamp_seconds", "When archiving last failed, in unix seconds"),
    ),
)
_CHECKPOINTS = Family(("kind",), (counter("checkpoints_total", "Checkpoints by what started them"),))
_BUFFERS = Family(("writer",), (counter("buffers_written_total", "Shared buffers written, by who had to write them"),))
_SETTINGS = Family(("name",), (gauge("setting", "Numeric (bytes, seconds) and boolean (1, 0) settings of the server"),))
_PENDING = Family((), (gauge("settings_pending_restart", "Settings that were changed and wait for a restart"),))
_REPLICATION = Family(
    ("application_name", "state"),
    (
        gauge("replication_lag_bytes", "Write-ahead log that a standby has not replayed yet, in bytes"),
        gauge("replication_replay_lag_seconds", "Time from a commit here until a standby showed it, in seconds"),
    ),
)
_SLOTS = Family(
    ("slot_name", "slot_type"),
    (
        gauge("replication_slot_active", "1 while somebody reads from the slot, else 0"),
        gauge("replication_slot_retained_bytes", "Write-ahead log kept for the slot, in bytes"),
    ),
)

# until PostgreSQL 16
_WRITERS = """
    checkpoints_timed as timed, checkpoints_req as requested,
    buffers_checkpoint as by_checkpointer, buffers_clean as by_bgwriter, buffers_backend as by_backend
    from pg_catalog.pg_stat_bgwriter
"""
# since PostgreSQL 17 checkpoints have a view of their own, and what backends write is in pg_stat_io only
_WRITERS_17 = """
    c.num_timed as timed, c.num_requested as requested,
    c.buffers_written as by_checkpointer, b.buffers_clean as by_bgwriter, (
        select sum({blocks})::int8 from pg_catalog.pg_stat_io
        where object = 'relation' and backend_type not in ('checkpointer', 'background writer')
    ) as by_backend
    from pg_catalog.pg_stat_checkpointer c, pg_catalog.pg_stat_bgwriter b
"""
_BLOCKS_17 = "writes"
# since PostgreSQL 18 one write may hold several blocks
_BLOCKS_18 = "write_bytes / current_setting('block_size')::int8"

_SERVER_SQL = """
    with position as materialized (
        select pg_is_in_recovery() as recovery, case when pg_is_in_recovery()
            then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn
    )
    select current_setting('server_version'), current_setting('server_version_num'),
        date_part('epoch', pg_postmaster_start_time()), p.recovery::int,
        current_setting('max_connections')::int,
        current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0),
        pg_wal_lsn_diff(p.lsn, '0/0')::float8,
        case when p.recovery then case when pg_last_wal_receive_lsn() = p.lsn then 0
            else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()) end end::float8,
        a.archived_count, a.failed_count, date_part('epoch', a.last_archived_time),
        date_part('epoch', a.last_failed_time),
        w.timed, w.requested, w.by_checkpointer, w.by_bgwriter, w.by_backend
    from position p, pg_catalog.pg_stat_archiver a, (select {writers}) w
"""

# Kind, two labels, two values. The second value of a setting is how many of all wait for a restart.
# Settings are costly and change with a reload only: they come where the stamp is not the one last seen in this session.
# A negative number is a word (-1: off, or as much as another setting says), not a quantity.
# One pass over the settings, they are costly: what waits for a restart is counted before text settings go.
# Two standbys may have the same name: the one further behind counts.
_FACTS_SQL = r"""
    with position as materialized (
        select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as lsn
    )
    select 'setting', name, null, case when vartype = 'bool' then (setting = 'on')::int else setting::float8 * case
            when setting like '-%' or unit is null then 1
            when unit = 'us' then 1e-6 when unit = 'ms' then 1e-3
            when unit = 'min' then 60 when unit = 'h' then 3600 when unit = 'd' then 86400
            else coalesce(nullif(regexp_replace(unit, '\D', '', 'g'), '')::int, 1) * case
                when unit like '%kB' then 1024 when unit like '%MB' then 1048576 else 1 end
            end
        end::float8, pending::float8
    from (select *, count(*) filter (where pending_restart) over () as pending from pg_catalog.pg_settings) s
    where vartype in ('bool', 'integer', 'real')
        and concat(pg_conf_load_time(), current_setting('in_hot_standby', true)) is distinct from $1
    union all
    select 'stamp', concat(pg_conf_load_time(), current_setting('in_hot_standby', true)), null, null, null
    union all
    select 'standby', application_name, state,
        max(pg_wal_lsn_diff(p.lsn, replay_lsn))::float8, max(extract(epoch from replay_lag))::float8
    from pg_catalog.pg_stat_replication cross join position p group by 2, 3
    union all
    select 'slot', slot_name::text, slot_type, active::int, pg_wal_lsn_diff(p.lsn, restart_lsn)::float8
    from pg_catalog.pg_replication_slots cross join position p
"""
_SESSIONS_REMEMBERED = 16


class ServerCollector(Collector):
    name = "server"
    summary = "version, settings, archiver, checkpoints, write-ahead log and replication of the server"
    families = (_INFO, _SERVER, _CHECKPOINTS, _BUFFERS, _SETTINGS, _PENDING, _REPLICATION, _SLOTS)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._settings: dict[int, tuple[str, list[Any]]] = {}  # by process id of the session: stamp and records

    async def collect(self, target: Target) -> list[Rows]:
        async with target.session() as session:
            server = await _server(session)
            by_kind = await self._facts(session)
            settings = by_kind["setting"]
            return [
                *server,
                _SETTINGS.rows([(name, value) for name, _, value, _ in settings]),
                _PENDING.rows([fact[3:] for fact in settings[:1]]),
                _REPLICATION.rows(by_kind["standby"]),
                _SLOTS.rows(by_kind["slot"]),
            ]

    async def _facts(self, session: Session) -> dict[str, list[Any]]:
        pid = session.connection.get_server_pid()
        stamp, settings = self._settings.get(pid, (None, []))
        by_kind: dict[str, list[Any]] = defaultdict(list)
        for record in await session.fetch(_FACTS_SQL, stamp):
            by_kind[record[0]].append(record[1:])
        ((now, *_),) = by_kind["stamp"]
        if now == stamp:
            by_kind["setting"] = settings
        else:
            if len(self._settings) >= _SESSIONS_REMEMBERED:
                self._settings.clear()
            self._settings[pid] = (now, by_kind["setting"])
        return by_kind


async def _server(session: Session) -> list[Rows]:
    (record,) = await session.fetch(_SERVER_SQL.format(writers=_writers(session.server.version)))
    timed, requested, checkpointer, bgwriter, backend = record[12:]
    return [
        _INFO.rows([(*record[:2], 1)]),
        _SERVER.rows([record[2:12]]),
        _CHECKPOINTS.rows([("timed", timed), ("requested", requested)]),
        _BUFFERS.rows([("checkpointer", checkpointer), ("bgwriter", bgwriter), ("backend", backend)]),
    ]


def _writers(version: int) -> str:
    if version < 170000:
        return _WRITERS
    return _WRITERS_17.format(blocks=_BLOCKS_18 if version >= 180000 else _BLOCKS_17)
