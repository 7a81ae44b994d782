"""What is going on now: sessions, transactions, waits and locks. One statement reads it all."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from collectors import Collector, Family, Rows, Target, gauge

_SESSIONS = Family(
    ("datname", "state"),
    (
        gauge("sessions", "Client sessions by what they do"),
        gauge("transaction_max_age_seconds", "Age of the longest open transaction, in seconds"),
    ),
)
_BLOCKED = Family(("datname",), (gauge("sessions_blocked", "Client sessions that wait for a lock"),))
_WAITING = Family(
    ("datname", "wait_event_type"), (gauge("sessions_waiting", "Active client sessions by what they wait for"),)
)
_LOCKS = Family(("datname", "mode"), (gauge("locks", "Locks held or waited for on what belongs to a database"),))
_PREPARED = Family(("datname",), (gauge("prepared_transactions", "Transactions prepared for two-phase commit"),))
_OLDEST = Family((), (gauge("oldest_xmin_age", "Transactions since the oldest one whose rows VACUUM must keep"),))

# kind, two labels, two values; a family takes as many of them as it has names for
_SQL = """
    with sessions as materialized (
        select d.datname, a.state, a.wait_event_type, a.xact_start, a.backend_xmin, a.backend_type
        from pg_catalog.pg_stat_activity a left join pg_catalog.pg_database d on d.oid = a.datid
    ), clients as (
        select * from sessions where backend_type = 'client backend'
    )
    select 'sessions', datname::text, state, count(*)::float8,
        extract(epoch from clock_timestamp() - min(xact_start))::float8
    from clients where state is not null group by 2, 3
    union all
    select 'blocked', datname::text, null, count(*) filter (where wait_event_type = 'Lock'), null
    from clients where state is not null group by 2
    union all
    select 'waiting', datname::text, wait_event_type, count(*), null
    from clients where wait_event_type is not null and state = 'active' group by 2, 3
    union all
    select 'locks', d.datname::text, l.mode, count(*), null
    from pg_catalog.pg_locks l join pg_catalog.pg_database d on d.oid = l.database group by 2, 3
    union all
    select 'prepared', database::text, null, count(*), null from pg_catalog.pg_prepared_xacts group by 2
    union all
    select 'oldest', null, null, max(age), null from (
        select age(backend_xmin) from sessions
        union all select greatest(age(xmin), age(catalog_xmin)) from pg_catalog.pg_replication_slots
        union all select age(transaction) from pg_catalog.pg_prepared_xacts
    ) holders(age)
    union all
    select 'hidden', null, null, 1, null where not pg_has_role('pg_read_all_stats', 'usage')
"""


class ActivityCollector(Collector):
    name = "activity"
    summary = "sessions by state, longest transactions, waits, locks, what holds VACUUM back"
    families = (_SESSIONS, _BLOCKED, _WAITING, _LOCKS, _PREPARED, _OLDEST)

    async def collect(self, target: Target) -> list[Rows]:
        by_kind: dict[str, list[Any]] = defaultdict(list)
        for record in await target.fetch(_SQL):
            by_kind[record[0]].append(record)
        if by_kind["hidden"]:
            target.gap("sessions of other roles", "the role is not a member of pg_monitor or pg_read_all_stats")
        return [
            _SESSIONS.rows([record[1:5] for record in by_kind["sessions"]]),
            _BLOCKED.rows([(record[1], record[3]) for record in by_kind["blocked"]]),
            _WAITING.rows([record[1:4] for record in by_kind["waiting"]]),
            _LOCKS.rows([record[1:4] for record in by_kind["locks"]]),
            _PREPARED.rows([(record[1], record[3]) for record in by_kind["prepared"]]),
            _OLDEST.rows([(record[3],) for record in by_kind["oldest"]]),
        ]
