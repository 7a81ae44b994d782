"""How old the oldest row is where rows may only be kept for a time; when data was last refreshed, or why it was not."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
from pydantic import BaseModel, Field, ValidationError

from collectors import Collector, Family, Rows, Session, Target, gauge
from fleet.connections import Record
from fleet.data.refused import read_refused
from fleet.durations import Duration
from fleet.errors import StoreError
from fleet.stores import Store

OLDEST_ROW = Family(
    ("datname", "schemaname", "relname"),
    (gauge("table_oldest_row_timestamp_seconds", "Time of the oldest row, by the retention rule's column, unix s."),),
)
REFRESH = Family(
    (),
    (gauge("refresh_last_success_timestamp_seconds", "When sanitised data was last refreshed, unix seconds."),),
)
REFUSED = Family(
    ("datname", "schemaname", "relname", "column", "kind"),
    (
        gauge(
            "refresh_findings",
            "Values with personal data in the last copy of production, which was refused for them; 1 of kind unread.",
        ),
    ),
)

# not to_regclass: it raises where the schema is closed to us, and knows no columns
_TABLE = """
    with recursive parts (oid) as (
        select c.oid
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
        union all
        select h.inhrelid from pg_catalog.pg_inherits h join parts on parts.oid = h.inhparent
    )
    select a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) as is_time,
           has_schema_privilege(n.oid, 'usage') and has_column_privilege(c.oid, a.attnum, 'select') as readable,
           row_security_active(c.oid) as filtered,
           exists (
               select from pg_catalog.pg_index i
               join pg_catalog.pg_class x on x.oid = i.indexrelid
               join pg_catalog.pg_am m on m.oid = x.relam and m.amname = 'btree'
               where i.indrelid = c.oid and i.indkey[0] = a.attnum and i.indisvalid and i.indpred is null
           ) as indexed,
           (
               select sum(greatest(r.reltuples, pg_stat_get_live_tuples(r.oid)))
               from parts join pg_catalog.pg_class r using (oid)
           ) as rows,
           case when a.attname is not null then
               format('select extract(epoch from min(%I))::float8 from %I.%I', a.attname, n.nspname, c.relname)
           end as query
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $3 and a.attnum > 0 and not a.attisdropped
    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p')
"""


class FreshnessCollector(Collector):
    name = "freshness"
    summary = "age of the oldest row per retention rule, and of the last data refresh; what kept one from being used"
    families = (OLDEST_ROW, REFRESH, REFUSED)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=30)
        scan_rows: int = Field(
            1_000_000, ge=0, description="a table with more rows is read only through an index on the rule's column"
        )

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._scan_rows = options.scan_rows

    async def collect(self, target: Target) -> list[Rows]:
        oldest = await _oldest_rows(target, self._scan_rows)
        refused = await _refused(target)
        return [OLDEST_ROW.rows(oldest), REFRESH.rows(await _last_refresh(target)), REFUSED.rows(refused)]


async def _oldest_rows(target: Target, scan_rows: int) -> list[Sequence[Any]]:
    rules = {rule.qualified: rule.column for rule in target.environment.policy.data.row_retention}
    seen: set[tuple[str, str]] = set()
    unreadable: dict[str, str] = {}

    async def read(session: Session) -> list[Any]:
        records: list[Any] = []
        for table, column in rules.items():
            facts = await session.connection.fetchrow(_TABLE, *table, column)
            if facts is None:
                continue
            seen.add(table)
            where = ".".join((session.database, *table))
            if reason := _unreadable(facts, scan_rows):
                unreadable[where] = reason
            elif (oldest := await _oldest(target, session, where, facts["query"])) is not None:
                records.append((session.database, *table, oldest))
        return records

    if not rules:
        return []
    records = await target.each(read)
    if not target.failures and not target.gaps:  # else a table may be in a database that is closed to us
        for table in map(".".join, rules.keys() - seen):
            target.gap(table, f"no database has the table {table} of a retention rule")
    for where, reason in unreadable.items():
        target.gap(where, reason)
    return records


def _unreadable(facts: Record, scan_rows: int) -> str | None:
    """Why the oldest row cannot be told, or not cheaply."""
    if facts["is_time"] is None:
        return "the column of its retention rule does not exist"
    if not facts["is_time"]:
        return "the column of its retention rule is no timestamp or date"
    if not facts["readable"]:
        return "the role may not read the column of its retention rule"
    if facts["filtered"]:
        return "row-level security hides rows from the role"
    if not facts["indexed"] and facts["rows"] > scan_rows:
        return "large, and no index starts with the column of its retention rule"
    return None


async def _oldest(target: Target, session: Session, where: str, query: str) -> float | None:
    """Unix seconds of the oldest row; a column without a time zone is read as UTC."""
    try:
        oldest: float | None = await session.connection.fetchval(query)
    except asyncpg.PostgresError as error:
        target.failed(where, error)
        return None
    return oldest if oldest is not None and math.isfinite(oldest) else None


class _Refresh(BaseModel):
    """What a refresh leaves in a store when it is done."""

    environment: str
    finished_at: float
    source: str


async def _last_refresh(target: Target) -> list[Sequence[Any]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_read_refresh(target, copy, store)) for copy, store in target.stores.items()]
    finished = [at for task in tasks if (at := task.result()) is not None]
    return [(max(finished),)] if finished else []


async def _read_refresh(target: Target, copy: str, store: Store) -> float | None:
    try:
        objects = await store.list(f"refreshes/{target.environment.name}/")
        if not objects:
            return None
        newest = max(objects, key=lambda stat: (stat.modified, stat.key))
        text = b"".join([part async for part in store.get(newest.key)])
        return _Refresh.model_validate_json(text).finished_at
    except StoreError as error:
        target.failed(copy, error)
    except ValidationError:
        target.failed(copy, StoreError(f"{newest.key} is no record of a refresh"))
    return None


async def _refused(target: Target) -> list[Sequence[Any]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for copy, store in target.stores.items():
        try:
            for record in await read_refused(store, target.environment.name):
                for each in record.findings:
                    counts[record.datname, each.schemaname, each.relname, each.column, each.kind.value] += each.count
        except StoreError as error:
            target.failed(copy, error)
    return [(*place, count) for place, count in counts.items()]
