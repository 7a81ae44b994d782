"""Backups and restores beside the usual tools: `python -m tests.bench.backup` (make bench-backup), --rows for sizes.

For each size, on one embedded server, after another in one run:

- `full`: `pg_dump | gzip` (as people's scripts do), `pg_dump -Fc -Z0 | zstd`, ours (`copy` and `record` of the action).
  Targets at 100,000 rows: 40 and 4 times faster, 0.8 of gzip's bytes.
- `next`: ours after 1 % of the rows were appended, and after 1 % of the documents were written anew. Targets: 3 and
  10 % of the first backup's bytes, a quarter of its time. restic on a dump and pg_basebackup --incremental beside it.
- `restore`: `gunzip | psql` beside ours, once with an IVFFlat index, once with HNSW; psql builds indexes in the order
  of the file, so that queryable and ready are one moment. It gets the maintenance memory without which it fails
  (IVFFlat), or the server's default (HNSW). Targets: queryable 3 and 15 times faster, ready 2 and 3 times.

`--skip-hnsw` leaves out what takes longest. Ours runs in a process of its own; its peak memory and the longest time for
which its event loop was blocked are measured there. Repeated figures are medians. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from daemon.demo.fleet import temporary_directory
from fleet.client_tools import find_tool
from fleet.embedded import EmbeddedServer
from fleet.process import run
from tests.bench import backup_site as site
from tests.bench.machine import machine

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "summarize_wal": "on"}


class Bench:
    """One server, one directory."""

    def __init__(self, server: EmbeddedServer, directory: Path, tools: Path) -> None:
        self.server = server
        self.directory = directory
        self.tools = tools

    async def connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.server.dsn(database))

    async def execute(self, database: str, statement: str) -> None:
        connection = await self.connect(database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def shell(self, script: str) -> float:
        """Seconds that it took."""
        begun = time.perf_counter()
        await run(["bash", "-o", "pipefail", "-c", script])
        return time.perf_counter() - begun

    async def ours(self, what: str, database: str, store: str, *more: str) -> dict[str, Any]:
        await self.execute("postgres", "checkpoint")
        command = [sys.executable, "-m", "tests.bench.backup_ours", what, self.server.dsn(database), database]
        said = await run([*command, str(self.directory / store), *more])
        told: dict[str, Any] = json.loads(said.splitlines()[-1])
        if not told["fixed"]:
            raise SystemExit(f"ours did not work: {told['reason']}")
        return told

    def dump(self, database: str, *options: str) -> str:
        return f"{self.tools / 'pg_dump'} {' '.join(options)} '{self.server.dsn(database)}'"

    async def make(self, database: str, rows: int, index: str) -> None:
        await self.execute("postgres", f"create database {database}")
        connection = await self.connect(database)
        await site.fill(connection, rows)
        await connection.execute("set maintenance_work_mem = '2GB'")
        await connection.execute(site.KEYS)
        await connection.execute(index)
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")
        await connection.close()


async def full(bench: Bench, database: str, repeats: int) -> dict[str, Any]:
    gz, zst = bench.directory / f"{database}.sql.gz", bench.directory / f"{database}.zst"
    told: dict[str, Any] = {"gzip_seconds": await bench.shell(f"{bench.dump(database)} | gzip > {gz}")}
    mine, theirs = [], []
    for number in range(repeats):
        mine.append(await bench.ours("backup", database, f"{database}.{number}"))
        theirs.append(await bench.shell(f"{bench.dump(database, '-Fc', '-Z0')} | zstd -q -f -o {zst}"))
    seconds = median(one["seconds"] for one in mine)
    stored = mine[0]["copy_added_bytes"]
    return told | {
        "gzip_mb": gz.stat().st_size / 1e6,
        "zstd_seconds": median(theirs),
        "zstd_mb": zst.stat().st_size / 1e6,
        "ours_seconds": seconds,
        "ours_mb": stored / 1e6,
        "ours_peak_mb": max(one["peak_mb"] for one in mine),
        "ours_loop_blocked_ms": max(one["loop_blocked_ms"] for one in mine),
        "ratio_gzip": told["gzip_seconds"] / seconds,
        "ratio_zstd": median(theirs) / seconds,
        "ratio_bytes": stored / gz.stat().st_size,
    }


async def following(bench: Bench, database: str, rows: int, first: dict[str, Any]) -> dict[str, Any]:
    store = f"{database}.0"
    base = bench.directory / f"{database}.base"
    restic = shutil.which("restic")
    told: dict[str, Any] = {}
    basebackup = f"{bench.tools / 'pg_basebackup'} -d '{bench.server.dsn('postgres')}' -c fast"
    await bench.shell(f"{basebackup} -D {base}")
    if restic:
        await bench.shell(_restic(bench, database, "init"))
        await bench.shell(f"{bench.dump(database, '-Fc', '-Z0')} | {_restic(bench, database, 'backup --stdin')}")
    for name in ("append", "update"):
        connection = await bench.connect(database)
        if name == "append":
            await site.append(connection, rows, rows // 100)
        else:
            await site.update_documents(connection, rows, 0.01)
        await connection.close()
        mine = await bench.ours("backup", database, store)
        told |= {
            f"{name}_seconds": mine["seconds"],
            f"{name}_mb": mine["copy_added_bytes"] / 1e6,
            f"ratio_{name}_bytes": mine["copy_added_bytes"] / 1e6 / first["ours_mb"],
            f"ratio_{name}_seconds": mine["seconds"] / first["ours_seconds"],
        }
        if restic:
            script = f"{bench.dump(database, '-Fc', '-Z0')} | {_restic(bench, database, 'backup --stdin')}"
            told[f"{name}_restic_seconds"] = await bench.shell(script)
        target = bench.directory / f"{database}.{name}"
        told[f"{name}_basebackup_seconds"] = await bench.shell(
            f"{basebackup} -D {target} --incremental={base}/backup_manifest"
        )
        told[f"{name}_basebackup_mb"] = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    return told


def _restic(bench: Bench, database: str, what: str) -> str:
    return f"RESTIC_PASSWORD=x restic -q --no-cache -r {bench.directory / database}.restic {what}"


async def restore(bench: Bench, database: str, memory: str) -> dict[str, Any]:
    gz = bench.directory / f"{database}.sql.gz"
    if not gz.exists():
        # what is in the file is the same at any level
        await bench.shell(f"{bench.dump(database)} | gzip -1 > {gz}")
        await bench.ours("backup", database, f"{database}.0")
    theirs = f"{database}_psql"
    await bench.execute("postgres", f"create database {theirs}")
    psql = f"{bench.tools / 'psql'} -q -X -v ON_ERROR_STOP=1 -d '{bench.server.dsn(theirs)}'"
    seconds = await bench.shell(f"gunzip -c {gz} | PGOPTIONS='-c maintenance_work_mem={memory}' {psql} > /dev/null")
    await bench.execute("postgres", f"drop database {theirs}")
    mine = await bench.ours("restore", database, f"{database}.0", "--into", f"{database}_ours")
    await bench.execute("postgres", f"drop database {database}_ours")
    queryable, ready = mine["keys_queryable_seconds"], mine["vectors_ready_seconds"]
    return {
        "psql_seconds": seconds,
        "load_seconds": mine["load_seconds"],
        "queryable_seconds": queryable,
        "ready_seconds": ready,
        "verified_seconds": mine["seconds"] + mine["verify_seconds"],
        "peak_mb": mine["peak_mb"],
        "loop_blocked_ms": mine["loop_blocked_ms"],
        "ratio_queryable": seconds / queryable,
        "ratio_ready": seconds / ready,
    }


async def measure(directory: Path, rows: int, *, hnsw: bool, repeats: int) -> dict[str, Any]:
    tools = (await find_tool("pg_dump", None)).path.parent
    server = await asyncio.to_thread(EmbeddedServer.start, directory / "server", settings=SETTINGS)
    bench = Bench(server, directory, tools)
    try:
        await bench.make("ivf", rows, site.IVFFLAT)
        told: dict[str, Any] = {"full": await full(bench, "ivf", repeats)}
        _say(rows, told)
        told["restore_ivfflat"] = await restore(bench, "ivf", "1GB" if rows > 200_000 else "128MB")
        _say(rows, told)
        told["next"] = await following(bench, "ivf", rows, told["full"])
        _say(rows, told)
        if hnsw:
            await bench.execute("postgres", "drop database ivf")
            await bench.make("hnsw", rows, site.HNSW)
            told["restore_hnsw"] = await restore(bench, "hnsw", "64MB")
        return told
    finally:
        await asyncio.to_thread(server.stop)


def _say(rows: int, told: dict[str, Any]) -> None:
    print(rows, json.dumps(told), file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="a size; again: and that [20000 and 100000]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-hnsw", action="store_true")
    arguments = parser.parse_args()
    result: dict[str, Any] = {}
    for rows in arguments.rows or [20_000, 100_000]:
        directory = temporary_directory()
        try:
            told = asyncio.run(measure(directory, rows, hnsw=not arguments.skip_hnsw, repeats=arguments.repeats))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        result[str(rows)] = told
    largest = result[max(result, key=int)]
    print(json.dumps({"ratio": largest["full"]["ratio_gzip"], "rows": result, "machine": machine()}))


if __name__ == "__main__":
    main()
