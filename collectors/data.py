"""What the last scan for personal data found in each database: places and counts, never a value."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from collectors import Collector, Family, Rows, Target, gauge
from fleet.data.scan.records import ScanRecord, read_record
from fleet.durations import Duration
from fleet.errors import StoreError
from fleet.stores import Store

FINDINGS = Family(
    ("datname", "schemaname", "relname", "column", "kind"),
    (
        gauge(
            "data_findings",
            "Values with personal data of this kind that the last scan found; 1 of kind unread: it could not look.",
        ),
    ),
)
SCAN = Family(
    ("datname",),
    (
        gauge("data_scan_timestamp_seconds", "When personal data was last looked for, unix seconds."),
        gauge("data_scan_sampled", "1 where that scan looked at a part of the larger tables only, else 0."),
    ),
)


class DataCollector(Collector):
    name = "data"
    summary = "personal data that the last scan found, and when that was"
    families = (FINDINGS, SCAN)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)

    async def collect(self, target: Target) -> list[Rows]:
        records = await _last_records(target)
        counts: Counter[tuple[str, ...]] = Counter()
        for record in records:
            for each in record.findings:
                counts[record.datname, each.schemaname, each.relname, each.column, each.kind.value] += each.count
        return [
            FINDINGS.rows([(*place, count) for place, count in counts.items()]),
            SCAN.rows([(record.datname, record.finished_at, int(record.sampled)) for record in records]),
        ]


async def _last_records(target: Target) -> list[ScanRecord]:
    """Of each database that there is, the newest record of all stores."""
    names = await target.databases()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_read(target, copy, store, name))
            for name in names
            for copy, store in target.stores.items()
        ]
    newest: dict[str, ScanRecord] = {}
    for record in (found for task in tasks if (found := task.result()) is not None):
        other = newest.setdefault(record.datname, record)
        if record.finished_at > other.finished_at:
            newest[record.datname] = record
    return list(newest.values())


async def _read(target: Target, copy: str, store: Store, name: str) -> ScanRecord | None:
    try:
        return await read_record(store, target.environment.name, name)
    except StoreError as error:
        target.failed(copy, error)
        return None
