"""What an engine costs that has nothing to do: state database, engine, leases of 20 environments, alerts' mirror.

The state database is a server of the benchmark's own that counts statements (pg_stat_statements, those that begin and
end transactions too).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from daemon import clock
from daemon.alerting import Alerting, AlertMirror, FileJournal, RuleThread
from fleet.embedded import EmbeddedServer
from fleet.secrets import SecretText
from rules import Lasting, SampleStore
from tests.bench.actions_site import OPEN, BenchWorld, Site, environments, site

ENVIRONMENTS = 20
SETTLE_SECONDS = 5.0
SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "top",
    "shared_buffers": "32MB",
}
TARGETS = {"cpu_ratio": 0.01, "statements_per_second": 12.0}
_CALLS = """
select s.query, s.calls from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = 'custode' order by s.calls desc
"""


async def measure(directory: Path, seconds: float) -> dict[str, Any]:
    server = await asyncio.to_thread(EmbeddedServer.start, directory / "counting", settings=SETTINGS)
    try:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute("create database custode")
        await admin.execute("create extension pg_stat_statements")
        world = BenchWorld(environments(ENVIRONMENTS, "postgresql:///unused"), lambda _what, _object: None)
        async with site(world, directory / "idle", limits=OPEN, url=SecretText(server.dsn("custode"))) as daemon:
            daemon.engine.serve_environments(daemon.membership.held)
            figures = await watch(daemon, admin, directory / "idle", seconds)
        await admin.close()
    finally:
        await asyncio.to_thread(server.stop)
    return figures


async def watch(daemon: Site, admin: asyncpg.Connection, data_dir: Path, seconds: float) -> dict[str, Any]:
    membership, thread = daemon.membership, RuleThread()
    mirrors: list[AlertMirror] = []  # it needs `alerting`, which tells it

    def mirrored(changes: Sequence[Lasting], at: float) -> None:
        mirrors[0].note(changes, at)

    alerting = Alerting(
        publish=lambda _: None,
        journal=FileJournal(data_dir / "alerts.jsonl"),
        now=clock.now,
        thread=thread,
        store=SampleStore(),
        mirror=mirrored,
    )
    ours = {"member": membership.id, "instance": membership.instance}
    mirror = AlertMirror(daemon.state, alerting, now=clock.now, **ours)
    mirrors.append(mirror)
    await alerting.restore()
    await mirror.gain(membership.held)
    async with asyncio.TaskGroup() as group:
        serving = [group.create_task(work) for work in (mirror.serve(), alerting.run(lambda: None))]
        await asyncio.sleep(SETTLE_SECONDS)
        await admin.execute("select pg_stat_statements_reset()")
        used, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(seconds)
        used, wall = time.process_time() - used, time.perf_counter() - began
        calls = await admin.fetch(_CALLS)
        for task in serving:
            task.cancel()
    thread.close()
    for row in calls[:12]:
        print(f"idle: {row['calls'] / wall:6.2f}/s  {' '.join(row['query'].split())[:110]}", file=sys.stderr)
    per_second = sum(row["calls"] for row in calls) / wall
    figures = {"cpu_ratio": round(used / wall, 5), "statements_per_second": round(per_second, 2)}
    return {"seconds": seconds, **figures} | {
        f"ratio_{name}": round(figures[name] / target, 3) for name, target in TARGETS.items()
    }
