"""How long the catalogue and the fingerprint of a large schema take: 1,000 tables with 3,000 indexes.

`seconds` is the median of a read with all that belongs to it; `compare_seconds` that of comparing two such catalogues
that differ in three objects. The statements are counted by the server and its locks are looked at while they are held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from fleet.embedded import EmbeddedServer
from fleet.schema import compare, read_catalogue, tally
from tests.bench.machine import machine

_LOCKS = "select distinct mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation'"
_CHANGES = (
    "drop index table_0000_a_idx",
    "alter table table_0001 add column more int",
    "create table one_more (id int)",
)


async def fill(sql: asyncpg.Connection, tables: int) -> None:
    """Tables of ten columns, with a primary key, a foreign key, a check, a sequence and three more indexes each."""
    await sql.execute("create table root (id bigint primary key)")
    for number in range(tables):
        name = f"table_{number:04}"
        await sql.execute(
            f"create table {name} (id bigserial primary key, root bigint references root, a int check (a > 0),"
            f" b int not null default 1, c text, d text, e numeric(10, 2), f jsonb, g timestamptz default now(),"
            f" h int generated always as (b * 2) stored);"
            f"create index {name}_a_idx on {name} (a); create index {name}_lower_idx on {name} (lower(c));"
            f"create index {name}_g_idx on {name} (g) where b > 3"
        )


async def measure(directory: Path, tables: int, rounds: int) -> dict[str, Any]:
    server = EmbeddedServer.start(directory / "server", settings={"fsync": "off", "max_locks_per_transaction": "256"})
    try:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute("create database bench")
        sql = await asyncpg.connect(server.dsn("bench"))
        await fill(sql, tables)
        await sql.execute("vacuum analyze")
        await sql.close()
        # a session of its own: the first read fills the caches of its backend
        sql = await asyncpg.connect(server.dsn("bench"), server_settings={"jit": "off"})
        statements: list[str] = []
        sql.add_query_logger(lambda record: statements.append(record.query))
        started = time.perf_counter()
        before = await read_catalogue(sql)
        first = time.perf_counter() - started
        asked = len([one for one in statements if "pg_catalog" in one])
        async with sql.transaction(isolation="repeatable_read", readonly=True):
            await read_catalogue(sql)
            locks = sorted(record["mode"] for record in await sql.fetch(_LOCKS))
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            again = await read_catalogue(sql)
            seconds.append(time.perf_counter() - started)
            assert again.fingerprint == before.fingerprint
        for change in _CHANGES:
            await sql.execute(change)
        after = await read_catalogue(sql)
        found = tally(compare(after, before))
        counts = before.count()
        await sql.close()
        await admin.close()
    finally:
        server.stop()
    return {
        "seconds": round(statistics.median(seconds), 3),
        "first_seconds": round(first, 3),
        "compare_seconds": _timed(lambda: compare(after, before), rounds),
        "differences": {f"{kind} {change}": count for (kind, change), count in sorted(found.items())},
        "catalogue_statements": asked,
        "locks": locks,
        "objects": {kind: count for kind, count in counts.items() if count},
    }


def _timed(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="custode-bench-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        found = asyncio.run(measure(Path(name), chosen.tables, chosen.rounds))
    for figure, value in found.items():
        print(f"{figure:22}", value)
    print(json.dumps({"tables": chosen.tables, "rounds": chosen.rounds} | found | {"machine": machine()}))


if __name__ == "__main__":
    main()
