"""Vector indexes built, swapped and probed, beside the guide's statements: `python -m tests.bench.vectors`.

(make bench-vectors; --rows for the size, 100,000 embeddings of 1,536 dimensions by default.) On one embedded server
with PostgreSQL's default settings for builds, one after another in one run:

- `ivfflat`: the guide's CREATE INDEX CONCURRENTLY with the default maintenance_work_mem (it fails) and with enough;
  ours, `rebuild_vector_index`, with the default. Target: not slower than the guide's with enough.
- `waits`: the longest that a reader and a writer of the table waited while ours went on, and while nothing did.
  Target: 200 ms.
- `hnsw`: the guide's statement with the defaults; ours, `upgrade_vector_index`. Target: 3.5 times faster, recall not
  lower. `halfvec`: the same into half precision. Target: half the size, recall within 0.01.
- `probe`: 100 queries against all rows. Targets: 3 s of work of the server, 300 MB, what the server itself answers;
  the cheap one within 0.02 of it, in 2 s.

`ratio` compares the statement with our build alone, `ratio_whole` with all that the action does: it measures recall
before and after, and swaps.

Ours runs in a process of its own, with all that a daemon has loaded. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from daemon.demo.fleet import temporary_directory
from fleet.embedded import EmbeddedServer
from fleet.process import run
from tests.bench import backup_site as site
from tests.bench.machine import machine

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
_INDEX = "idx_embedding"
_BUILD = "build the new one"  # the step of ours that is the guide's one statement
_CREATE = {
    "ivfflat": "create index concurrently {name} on knowledge_chunks using ivfflat (embedding vector_cosine_ops)"
    " with (lists = {lists})",
    "hnsw": "create index concurrently {name} on knowledge_chunks using hnsw (embedding vector_cosine_ops)"
    " with (m = 16, ef_construction = 64)",
}
_READ = """
    select id from knowledge_chunks
    order by embedding <=> (select embedding from knowledge_chunks where id = $1) limit 10
"""
_WRITE = "update knowledge_chunks set chunk_text = chunk_text || '.' where id = $1"


class Bench:
    """One server, one database."""

    def __init__(self, server: EmbeddedServer, rows: int) -> None:
        self.server = server
        self.rows = rows
        self.lists = max(1, rows // 1000)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.server.dsn("app"))

    async def execute(self, *statements: str) -> float:
        """Seconds that they took, each in a transaction of its own."""
        connection = await self.connect()
        begun = time.perf_counter()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
        return time.perf_counter() - begun

    async def theirs(self, kind: str, *settings: str) -> float:
        await self.execute("checkpoint")
        return await self.execute(*settings, _CREATE[kind].format(name="theirs", lists=self.lists))

    async def ours(self, what: str, *, checkpoint: bool = True, **more: str) -> dict[str, Any]:
        if checkpoint:
            await self.execute("checkpoint")
        command = [sys.executable, "-m", "tests.bench.vectors_ours", what, self.server.dsn("app"), "app", _INDEX]
        said = await run([*command, *(f"--{name}={value}" for name, value in more.items())])
        told: dict[str, Any] = json.loads(said.splitlines()[-1])
        if not told.get("fixed", True):
            raise SystemExit(f"ours did not work: {told['reason']}")
        return told

    async def act(self, action: str, *, checkpoint: bool = True, **parameters: Any) -> dict[str, Any]:
        return await self.ours("act", checkpoint=checkpoint, action=action, parameters=json.dumps(parameters))

    async def ivfflat_again(self) -> None:
        """What the others begin with."""
        names = await self._names()
        await self.execute(
            *(f'drop index "{name}"' for name in names),
            "set maintenance_work_mem = '1GB'",
            _CREATE["ivfflat"].format(name=_INDEX, lists=self.lists),
        )

    async def _names(self) -> list[str]:
        connection = await self.connect()
        names = await connection.fetch(
            "select relname from pg_class where relam in (select oid from pg_am where amname"
            " in ('hnsw', 'ivfflat')) and relkind = 'i'"
        )
        await connection.close()
        return [record[0] for record in names]


async def make(bench: Bench) -> None:
    admin = await asyncpg.connect(bench.server.dsn())
    await admin.execute("create database app")
    await admin.close()
    connection = await bench.connect()
    await site.fill(connection, bench.rows)
    await connection.execute("alter table knowledge_chunks add primary key (id)")
    await connection.close()  # what it counted is told now: after an analyze the rows would count twice
    await bench.execute("vacuum analyze")


async def ivfflat(bench: Bench) -> dict[str, Any]:
    told: dict[str, Any] = {"guide_default": "works"}
    try:
        await bench.theirs("ivfflat")
    except asyncpg.PostgresError as error:
        told["guide_default"] = str(error)
    await bench.execute("drop index if exists theirs")
    told["guide_seconds"] = await bench.theirs("ivfflat", "set maintenance_work_mem = '1GB'")
    await bench.execute("drop index theirs")
    await bench.ivfflat_again()
    mine = await bench.act("rebuild_vector_index")
    return told | {"ours": mine}


async def waits(bench: Bench) -> dict[str, Any]:
    async with _at_work(bench) as idle:
        await asyncio.sleep(5)
    await bench.execute("checkpoint")
    async with _at_work(bench) as busy:
        mine = await bench.act("rebuild_vector_index", checkpoint=False)  # others would wait for our checkpoint
    return {"idle": idle, "rebuild": busy, "seconds": mine["seconds"]}


@asynccontextmanager
async def _at_work(bench: Bench) -> AsyncIterator[dict[str, float]]:
    """A reader and a writer, each without pause; milliseconds of their slowest statement, and how many there were."""
    worst: dict[str, float] = {"read_ms": 0.0, "write_ms": 0.0, "reads": 0, "writes": 0}
    until = asyncio.Event()

    async def client(statement: str, name: str) -> None:
        connection = await bench.connect()
        number = 0
        while not until.is_set():
            begun = time.perf_counter()
            await connection.execute(statement, number * 7919 % bench.rows)
            worst[f"{name}_ms"] = max(worst[f"{name}_ms"], (time.perf_counter() - begun) * 1000)
            worst[f"{name}s"] += 1
            number += 1
            await asyncio.sleep(0.01)
        await connection.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(client(_READ, "read"))
        group.create_task(client(_WRITE, "write"))
        await asyncio.sleep(0.5)
        try:
            yield worst
        finally:
            until.set()


async def hnsw(bench: Bench) -> dict[str, Any]:
    """The guide's index is probed under our name, so that both are measured alike."""
    await bench.ivfflat_again()
    before = await bench.ours("probe")
    seconds = await bench.theirs("hnsw")
    await bench.execute(f"drop index {_INDEX}", f"alter index theirs rename to {_INDEX}")
    theirs = await bench.ours("probe")
    told: dict[str, Any] = {"ivfflat_probe": before, "guide_seconds": seconds, "guide_probe": theirs}
    await bench.ivfflat_again()
    # the statement asks nothing of what it replaces: both HNSW indexes are compared, not the lucky IVFFlat before them
    mine = await bench.act("upgrade_vector_index", recall_loss=0.2)
    told |= {"ours": mine, "probe": await bench.ours("probe")}
    await bench.ivfflat_again()
    half = await bench.act("upgrade_vector_index", halfvec=True, keep_old=False, recall_loss=0.2)
    return told | {"halfvec": half, "halfvec_probe": await bench.ours("probe")}


async def measure(directory: Path, rows: int, wanted: list[str]) -> dict[str, Any]:
    server = await asyncio.to_thread(EmbeddedServer.start, directory / "server", settings=SETTINGS)
    bench = Bench(server, rows)
    told: dict[str, Any] = {"rows": rows}
    try:
        await make(bench)
        for part in (ivfflat, waits, hnsw):
            if part.__name__ in wanted:
                if part is waits:
                    await bench.ivfflat_again()
                told[part.__name__] = await part(bench)
                print(rows, part.__name__, json.dumps(told[part.__name__]), file=sys.stderr, flush=True)
        return told
    finally:
        await asyncio.to_thread(server.stop)


def figures(told: dict[str, Any]) -> dict[str, float]:
    """What the targets are about."""
    found: dict[str, float] = {}
    if (part := told.get("ivfflat")) is not None:
        found["ratio_ivfflat"] = part["guide_seconds"] / part["ours"][f"{_BUILD}_seconds"]
    if (part := told.get("waits")) is not None:
        found["longest_wait_ms"] = max(part["rebuild"]["read_ms"], part["rebuild"]["write_ms"])
    if (part := told.get("hnsw")) is not None:
        ours, half, probe = part["probe"], part["halfvec_probe"], part["ivfflat_probe"]
        found |= {
            "ratio": part["guide_seconds"] / part["ours"][f"{_BUILD}_seconds"],
            "ratio_whole": part["guide_seconds"] / part["ours"]["seconds"],
            "recall_gain": ours["judged_recall"] - part["guide_probe"]["judged_recall"],
            "halfvec_size_ratio": half["size_mb"] / ours["size_mb"],
            "halfvec_recall_gain": half["judged_recall"] - ours["judged_recall"],
            "exact_server_seconds": max(one["exact_server_seconds"] for one in (ours, probe)),
            "exact_seconds": max(one["exact_seconds"] for one in (ours, probe)),
            "exact_peak_mb": max(one["peak_mb"] for one in (ours, probe)),
            "exact_from_server": max(one["furthest_from_server"] for one in (ours, probe)),
            "cheap_seconds": max(one["cheap_seconds"] for one in (ours, probe)),
            "cheap_error": max(abs(one["cheap_recall"] - one["exact_recall"]) for one in (ours, probe)),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument(
        "--part", action="append", choices=("ivfflat", "waits", "hnsw"), help="this one; again: and that"
    )
    arguments = parser.parse_args()
    directory = temporary_directory()
    try:
        told = asyncio.run(measure(directory, arguments.rows, arguments.part or ["ivfflat", "waits", "hnsw"]))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps({**figures(told), **told, "machine": machine()}))


if __name__ == "__main__":
    main()
