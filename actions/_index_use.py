"""Indexes that no query has used, and why each of them may or may not be dropped.

Source: pgwatch's rule for unused indexes; PostgreSQL's documentation, "The Cumulative Statistics System".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actions._action import Object
from fleet.connections import Connection

# Scans count from the last reset of the database's statistics, or from the crash that lost them: that sets the time of
# the shared ones. Until PostgreSQL 16 pg_stat_bgwriter is the only one of these.
# The columns of a foreign key are found through an index that begins with them, when rows they refer to are deleted.
_SQL = """
    select i.oid::int8 as oid, t.oid::int8 as table_oid, n.nspname::text as schemaname, t.relname::text as relname,
        i.relname::text as indexrelname, format('%I.%I', n.nspname, i.relname) as quoted,
        pg_get_indexdef(i.oid) as definition, pg_relation_size(i.oid)::float8 as bytes, x.indisvalid as valid,
        (pg_stat_get_numscans(i.oid) + pg_stat_get_tuples_returned(i.oid))::float8 as uses,
        extract(epoch from clock_timestamp() - since.at)::float8 as counted_seconds,
        extract(epoch from clock_timestamp() - {created})::float8 as age_seconds,
        (select count(*) from pg_catalog.pg_stat_replication r
            where r.application_name !~ '^(pg_receivewal|pg_basebackup|pg_recvlogical)'
                and not exists (select from pg_catalog.pg_replication_slots s
                    where s.active_pid = r.pid and s.slot_type = 'logical'))::int as standbys,
        case
            when x.indisunique or x.indisprimary or x.indisexclusion
                or exists (select from pg_catalog.pg_constraint where conindid = i.oid)
                then 'enforces a constraint, used or not'
            when x.indisreplident then 'is the replica identity of its table'
            when x.indisclustered then 'is what its table is clustered by'
            when exists (select from pg_catalog.pg_inherits where inhrelid = i.oid)
                then 'belongs to a partitioned index'
            when exists (select from pg_catalog.pg_depend
                where classid = 'pg_catalog.pg_class'::regclass and objid in (i.oid, t.oid) and deptype = 'e')
                then 'belongs to an extension'
            when exists (select from pg_catalog.pg_constraint f where f.conrelid = t.oid and f.contype = 'f'
                    and f.conkey <@ (x.indkey::int2[])[0:cardinality(f.conkey) - 1]
                    and not exists (select from pg_catalog.pg_index y
                        where y.indrelid = t.oid and y.indexrelid <> i.oid and y.indisvalid and y.indpred is null
                            and f.conkey <@ (y.indkey::int2[])[0:cardinality(f.conkey) - 1]))
                then 'is the only index on the columns of a foreign key'
            when not (pg_has_role(i.relowner, 'usage') or pg_has_role(n.nspowner, 'usage')) then 'is not ours'
        end as obstacle
    from pg_catalog.pg_index x
        join pg_catalog.pg_class i on i.oid = x.indexrelid
        join pg_catalog.pg_class t on t.oid = x.indrelid
        join pg_catalog.pg_namespace n on n.oid = i.relnamespace
        cross join lateral (select greatest(
            (select stats_reset from pg_catalog.pg_stat_database where datname = current_database()),
            (select stats_reset from pg_catalog.pg_stat_bgwriter)) as at) since
    where i.relkind = 'i' and i.relpersistence <> 't'
        and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp_)'
        and ($1::text is null or n.nspname = $1) and ($2::text is null or t.relname = $2)
        and ($3::text is null or i.relname = $3) and ($4::oid[] is null or i.oid = any($4))
    order by 8 desc, 1
"""
_CREATED = "pg_xact_commit_timestamp(x.xmin)"  # null for what is older than the server's memory of it
_UNKNOWN = "null::timestamptz"


@dataclass(frozen=True, slots=True)
class IndexUse:
    """An index and its use: `uses` since `counted_seconds` ago (None: unknown). Its age is rarely known.

    `standbys` are connected, and count what they use for themselves. `obstacle` says why it must stay, used or not.
    """

    datname: str
    schemaname: str
    relname: str
    indexrelname: str
    oid: int
    table_oid: int
    quoted: str
    definition: str
    bytes: float
    valid: bool
    uses: float
    counted_seconds: float | None
    age_seconds: float | None
    standbys: int
    obstacle: str | None

    @property
    def object(self) -> Object:
        names = ("datname", "schemaname", "relname", "indexrelname", "oid", "table_oid", "definition")
        return {name: getattr(self, name) for name in names}

    def reason_to_stay(self, seconds: float, *, vouched: bool) -> str | None:
        """Why it stays; None: nothing has used it for so long. `vouched`: somebody knows what the server does not."""
        if self.obstacle is not None:
            return self.obstacle
        unknown = (
            (self.age_seconds is None, "may be young: the server does not tell when it was made"),
            (self.standbys > 0, f"may serve queries on {self.standbys} standby(s), which count for themselves"),
        )
        reasons = (
            (self.uses > 0, "is used"),
            (
                (self.counted_seconds or 0.0) < seconds,
                "was not watched for long enough: its use was counted anew since",
            ),
            (self.age_seconds is not None and self.age_seconds < seconds, "is young"),
            *(() if vouched else unknown),
        )
        return next((why for holds, why in reasons if holds), None)


async def index_uses(
    connection: Connection,
    datname: str,
    names: Sequence[str | None] = (None, None, None),
    oids: Sequence[int] | None = None,
) -> list[IndexUse]:
    """Those of these names (schema, table, index) and object ids, as far as they are given; the largest first."""
    tracked = await connection.fetchval("show track_commit_timestamp") == "on"
    records = await connection.fetch(_SQL.format(created=_CREATED if tracked else _UNKNOWN), *names, oids)
    return [IndexUse(datname, **dict(record)) for record in records]
