"""Old rows deleted beside a writer: `python -m tests.bench.cleanup` (make bench-cleanup).

The guide's conversations and messages: a million messages past their 90 days, a fifth as many that are younger. Beside
each of these a writer and a reader work on the table, in a process of their own (cleanup_traffic.py):

- `idle`: nothing, for some seconds: what the machine itself makes them wait;
- `ours`: the action, whole, with its VACUUM;
- `plain`: cleanup_old_data.sh as it is written in the guide: DELETE, DELETE, VACUUM ANALYZE.

Target: `longest_write_ms` 100 or less. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from actions.cleanup import Cleanup, Parameters
from daemon.demo.fleet import temporary_directory
from daemon.tuning import tune_process
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Tier
from fleet.process import run
from tests.bench.machine import machine
from tests.integration.actions_kit import at_work, run_all
from tests.integration.cleanup_trouble import with_retention

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
IDLE_SECONDS = 10.0
A_CONVERSATION = 10  # messages
# migrations/reference has them so
TABLES = """
    create table conversations (
        id bigint generated always as identity primary key, created_at timestamptz not null default now()
    );
    create table messages (
        id bigint generated always as identity primary key,
        conversation_id bigint not null references conversations on delete cascade,
        role text not null check (role in ('user', 'assistant')), content text not null,
        created_at timestamptz not null default now()
    );
"""
# a year of them; the last fifth is younger than 80 days
ROWS = """
    insert into conversations (created_at)
        select now() - case when i <= $1 then interval '95 days' + interval '270 days' * (1 - i::float8 / $1)
            else interval '80 days' * (1 - (i - $1)::float8 / $1 * 5) end
        from generate_series(1, $1 + $1 / 5) i;
    insert into messages (conversation_id, role, content, created_at)
        select c.id, 'user', repeat(md5(c.id::text || j), 6), c.created_at + j * interval '1 minute'
        from conversations c, generate_series(1, $2) j order by c.id, j;
    create index idx_messages_conversation_id on messages (conversation_id);
    create index idx_messages_created_at on messages (created_at);
    vacuum analyze;
    checkpoint
"""
PLAIN = (
    "delete from messages where created_at < now() - interval '90 days'",
    "delete from conversations where created_at < now() - interval '90 days'",
    "vacuum analyze messages, conversations",
)
LEFT = "select count(*) from messages where created_at < now() - interval '90 days'"


class Bench:
    """A database for each of the three, on one server."""

    def __init__(self, server: EmbeddedServer, directory: Path) -> None:
        self._server, self._directory = server, directory

    async def execute(self, database: str, *statements: str) -> None:
        connection = await asyncpg.connect(self._server.dsn(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def fill(self, rows: int) -> None:
        await self.execute("postgres", "create database seeded")
        filled = ROWS.replace("$1", str(rows // A_CONVERSATION)).replace("$2", str(A_CONVERSATION))
        await self.execute("seeded", TABLES, *filled.split(";"))

    @asynccontextmanager
    async def beside(self, name: str, found: dict[str, Any]) -> AsyncIterator[None]:
        """Traffic on a new copy of the rows; what it says is in `found` afterwards, with what is left of old rows."""
        await self.execute("postgres", f"create database {name} template seeded strategy file_copy", "checkpoint")
        folder = self._directory / f"traffic-{name}"
        folder.mkdir()
        command = [sys.executable, "-m", "tests.bench.cleanup_traffic", self._server.dsn(name), str(folder)]
        traffic = asyncio.ensure_future(run(command))
        while not (folder / "begun").exists():
            if traffic.done():
                traffic.result()
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        begun = time.perf_counter()
        try:
            yield
            found["seconds"] = round(time.perf_counter() - begun, 2)
        finally:
            (folder / "end").touch()
            said = await traffic
        found |= json.loads(said.splitlines()[-1])
        connection = await asyncpg.connect(self._server.dsn(name))
        found["left"] = await connection.fetchval(LEFT)
        await connection.close()
        print(name, json.dumps(found), file=sys.stderr, flush=True)
        await self.execute("postgres", f"drop database {name} with (force)")

    async def idle(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with self.beside("idle", found):
            await asyncio.sleep(IDLE_SECONDS)
        return found

    async def plain(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with self.beside("plain", found):
            await self.execute("plain", *PLAIN)
        return found

    async def ours(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with self.beside("ours", found), at_work(self._environment("ours")) as job:
            asked = Parameters()
            plan = await Cleanup().plan(job, asked)
            figures = await run_all(Cleanup(), job, asked, plan)
            verdict = await Cleanup().verify(job, asked, plan)
        if not verdict.fixed:
            raise SystemExit(f"ours did not work: {verdict.reason}")
        return found | {"deleted": sum(int(one["deleted_rows"]) for one in figures)}

    def _environment(self, database: str) -> Environment:
        policy = with_retention(TIER_DEFAULTS[Tier.QA])
        where = {"dsn": self._server.dsn(database), "databases": (database,), "tls": {"mode": "disable"}}
        return Environment.model_validate({"name": "qa", "tier": Tier.QA, "policy": policy, **where})


async def measure(directory: Path, rows: int) -> dict[str, Any]:
    server = await asyncio.to_thread(EmbeddedServer.start, directory / "server", settings=SETTINGS)
    bench = Bench(server, directory)
    try:
        await bench.fill(rows)
        return {"idle": await bench.idle(), "ours": await bench.ours(), "plain": await bench.plain()}
    finally:
        await asyncio.to_thread(server.stop)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages past their time [1000000]")
    arguments = parser.parse_args()
    importlib.import_module("daemon.app")  # the memory is to be that of a daemon
    tune_process()  # as it does
    directory = temporary_directory()
    try:
        told = asyncio.run(measure(directory, arguments.rows))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    longest = {"longest_write_ms": told["ours"]["longest_write_ms"], "write_p999_ms": told["ours"]["write_p999_ms"]}
    print(json.dumps({**longest, "rows": arguments.rows, **told, "machine": machine()}))


if __name__ == "__main__":
    main()
