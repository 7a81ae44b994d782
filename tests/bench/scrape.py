"""A whole scrape against Debian's prometheus-postgres-exporter: `python -m tests.bench.scrape` (make bench-scrape).

One embedded server with a database of 200 tables and 1,000 indexes, a tenth of which is used before every round. Each
round times, in changing order, one scrape of each contestant: its statements over the same Unix socket, and its page
fetched compressed over a kept HTTP connection, as Prometheus does.

- `exporter`: with the table queries of Debian's own example file, so that it tells of tables as we do;
- `exporter_defaults`: as it comes, which tells of nothing inside a database;
- `ours`: all at once, the collectors that run every 15 s, with the series about the runs themselves;
- `ours_with_sizes`: the same and those that run every 60 s, because sizes walk files;
- `ours_sizes`: these alone;
- `ours_defaults`: those of the server, which tell what `exporter_defaults` tells except `pg_database_size`.

The last line is one JSON object: medians of wall time, means of CPU time of the client and of the server's processes,
all in milliseconds. `ratio` is exporter divided by ours, `ratio_with_sizes` exporter by ours_with_sizes,
`ratio_amortised` exporter by ours and a quarter of ours_sizes, what a scrape costs when sizes are read in every fourth;
`ratio_client_cpu` and `ratio_server_cpu` are exporter divided by ours in CPU time, `ratio_defaults` is
exporter_defaults by ours_defaults.

In favour of the exporter: the reader of our page runs in our process and counts as ours, and on PostgreSQL 17 and newer
the exporter's query for the background writer fails at once. In ours: the exporter does `pg_database_size` of four
small databases in all its scrapes, and nothing per index is asked of it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import http.client
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from collectors import Collector
from collectors.activity import ActivityCollector
from collectors.databases import DatabasesCollector
from collectors.indexes import IndexesCollector
from collectors.server import ServerCollector
from collectors.sizes import SizesCollector
from collectors.tables import TablesCollector
from collectors.vectors import VectorsCollector
from daemon.exposition import Page
from daemon.scrape import Scraper
from daemon.web.server import WebServer
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.process import running
from fleet.secrets import Secrets, SecretText
from tests.bench.machine import machine

EXPORTER = Path("/usr/bin/prometheus-postgres-exporter")
EXAMPLE_QUERIES = Path("/usr/share/doc/prometheus-postgres-exporter/examples/queries.yaml")
SAME_FACTS = ("pg_replication", "pg_postmaster", "pg_stat_user_tables", "pg_statio_user_tables")
TABLES = 200
Kinds = tuple[type[Collector], ...]
OF_SERVER: Kinds = (ServerCollector, DatabasesCollector, ActivityCollector)
EVERY_15_S: Kinds = (IndexesCollector, TablesCollector, *OF_SERVER)
EVERY_60_S: Kinds = (SizesCollector, VectorsCollector)
Scrape = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ours:
    """One watched environment and the server of its page, as the daemon has them."""

    scraper: Scraper
    page: Page
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def scrape(self, kinds: Kinds) -> None:
        for batch in await self.scraper.scrape_now("bench", [kind.name for kind in kinds]):
            assert batch.success, batch.problem
        self.writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length
        await self.reader.readexactly(int(length[1]))

    def series(self) -> int:
        return count_series(self.page.render(openmetrics=False, gzip=False))


@dataclass(slots=True)
class Exporter:
    """A running exporter, asked over one kept connection."""

    pid: int
    connection: http.client.HTTPConnection
    page: bytes = b""

    async def scrape(self) -> None:
        self.connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        self.page = self.connection.getresponse().read()

    def series(self) -> int:
        return count_series(gzip.decompress(self.page))


@dataclass(slots=True)
class Course:
    """One contestant's figures: wall, client and server seconds by round."""

    scrape: Scrape
    client_pid: int
    wall: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    def result(self) -> dict[str, float]:
        return {
            "ms": round(statistics.median(self.wall) * 1000, 2),
            "client_cpu_ms": round(statistics.mean(self.client) * 1000, 2),
            "server_cpu_ms": round(statistics.mean(self.server) * 1000, 2),
        }


def count_series(page: bytes) -> int:
    return sum(1 for line in page.splitlines() if line and not line.startswith(b"#"))


def cpu_seconds(pid: int) -> float:
    """What the threads of a process have used, to the nanosecond (proc(5), schedstat)."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def server_cpu_seconds(postmaster: int) -> float:
    """Of all processes of a server; those that ended are in the postmaster's account of its children (in ticks)."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(map(cpu_seconds, [postmaster, *map(int, children)])) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


async def fill(server: EmbeddedServer) -> None:
    admin = await asyncpg.connect(server.dsn())
    await admin.execute("create database bench")
    await admin.close()
    sql = await asyncpg.connect(server.dsn("bench"))
    for number in range(TABLES):
        name = f"table_{number:03}"
        await sql.execute(
            f"create table {name} (id bigint primary key, a int, b int, words text, at timestamptz default now());"
            f"insert into {name} select g, g % 10, g % 7, md5(g::text) from generate_series(1, 300) g;"
            f"create index on {name} (a); create index on {name} (b); create index on {name} (words);"
            f"create index on {name} (at, a)"
        )
    await sql.execute("vacuum analyze")
    await sql.close()


async def touch(sql: asyncpg.Connection, number: int) -> None:
    """Let a tenth of the tables be used, as between two scrapes."""
    for offset in range(TABLES // 10):
        name = f"table_{(number * 20 + offset) % TABLES:03}"
        await sql.execute(f"update {name} set a = a + 1 where id < 20; select count(*) from {name} where b = 3")
    await sql.execute("select pg_stat_force_next_flush()")


@asynccontextmanager
async def exporter(server: EmbeddedServer, queries: Path | None) -> AsyncIterator[Exporter]:
    command = [str(EXPORTER), "--web.listen-address=127.0.0.1:0"]
    if queries is not None:
        command.append(f"--extend.query-path={queries}")
    host = re.search("host=(.*)", server.dsn())
    assert host
    env = {"DATA_SOURCE_NAME": f"user=postgres host={host[1].replace('%2F', '/')} dbname=bench sslmode=disable"}
    async with running(command, env=env) as process, asyncio.TaskGroup() as group:
        assert process.stderr
        async for line in process.stderr:
            if found := re.search(rb"127\.0\.0\.1:(\d+)", line):
                port = int(found[1])
                break
        # what it complains of in every scrape has to be read, or it stands still
        reading = group.create_task(process.stderr.read())
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            yield Exporter(process.pid, connection)
        reading.cancel()


def same_facts(directory: Path) -> Path:
    queries = yaml.safe_load(EXAMPLE_QUERIES.read_text())
    path = directory / "queries.yaml"
    path.write_text(yaml.safe_dump({name: queries[name] for name in SAME_FACTS}))
    return path


@asynccontextmanager
async def ours(server: EmbeddedServer, kinds: Kinds) -> AsyncIterator[Ours]:
    values = {"name": "bench", "tier": "qa", "dsn": SecretText(server.dsn("bench")), "databases": ["bench"]}
    environment = Environment.model_validate(values | {"tls": {"mode": "disable"}})
    page = Page()
    web = WebServer(page, not_ready=lambda: None, reload=lambda: asyncio.sleep(0))
    await web.start("127.0.0.1", 0)
    collectors = {kind.name: kind for kind in kinds}
    scraper = Scraper(collectors=collectors, page=page, secrets=Secrets(time.monotonic), now=time.time)
    # the tickers sleep: a scrape is when a round says so
    options = {name: kind.Options(interval=timedelta(days=1)) for name, kind in collectors.items()}
    async with asyncio.TaskGroup() as group:
        scraper.start(group)
        await scraper.apply({"bench": environment}, options, {})
        await scraper.settle()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(web.address.rpartition(":")[2]))
        yield Ours(scraper, page, reader, writer)
        writer.close()
        await scraper.stop()
    await web.stop()


async def one_round(course: Course, postmaster: int) -> None:
    server, client, wall = server_cpu_seconds(postmaster), cpu_seconds(course.client_pid), time.perf_counter()
    await course.scrape()
    course.wall.append(time.perf_counter() - wall)
    course.client.append(cpu_seconds(course.client_pid) - client)
    course.server.append(server_cpu_seconds(postmaster) - server)


async def measure(rounds: int, directory: Path) -> dict[str, Any]:
    server = EmbeddedServer.start(directory / "server", settings={"fsync": "off", "autovacuum": "off"})
    async with AsyncExitStack() as stack:
        stack.callback(server.stop)
        await fill(server)
        sql = await asyncpg.connect(server.dsn("bench"))
        stack.push_async_callback(sql.close)
        postmaster = int((server.data_dir / "postmaster.pid").read_text().split()[0])
        configured = await stack.enter_async_context(exporter(server, same_facts(directory)))
        plain = await stack.enter_async_context(exporter(server, None))
        daemon = await stack.enter_async_context(ours(server, EVERY_15_S + EVERY_60_S))
        small = await stack.enter_async_context(ours(server, OF_SERVER))
        courses = {
            "exporter": Course(configured.scrape, configured.pid),
            "ours": Course(partial(daemon.scrape, EVERY_15_S), os.getpid()),
            "ours_with_sizes": Course(partial(daemon.scrape, EVERY_15_S + EVERY_60_S), os.getpid()),
            "exporter_defaults": Course(plain.scrape, plain.pid),
            "ours_sizes": Course(partial(daemon.scrape, EVERY_60_S), os.getpid()),
            "ours_defaults": Course(partial(small.scrape, OF_SERVER), os.getpid()),
        }
        await race(courses, rounds, sql, postmaster)
        pages: dict[str, Ours | Exporter] = {
            "exporter": configured,
            "exporter_defaults": plain,
            "ours_with_sizes": daemon,
            "ours_defaults": small,
        }
        series = {f"series_{name}": page.series() for name, page in pages.items()}
    return {name: course.result() for name, course in courses.items()} | series


async def race(courses: dict[str, Course], rounds: int, sql: asyncpg.Connection, postmaster: int) -> None:
    for course in courses.values():  # connections, relation caches, label texts
        for _ in range(3):
            await course.scrape()
    gc.collect()
    gc.freeze()
    names = list(courses)
    for number in range(rounds):
        await touch(sql, number)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            await one_round(courses[name], postmaster)


def ratios(found: dict[str, Any]) -> dict[str, float]:
    def ratio(theirs: str, us: str, figure: str = "ms") -> float:
        quotient: float = found[theirs][figure] / found[us][figure]
        return round(quotient, 2)

    amortised = found["ours"]["ms"] + found["ours_sizes"]["ms"] / 4
    return {
        "ratio": ratio("exporter", "ours"),
        "ratio_with_sizes": ratio("exporter", "ours_with_sizes"),
        "ratio_amortised": round(found["exporter"]["ms"] / amortised, 2),
        "ratio_client_cpu": ratio("exporter", "ours", "client_cpu_ms"),
        "ratio_server_cpu": ratio("exporter", "ours", "server_cpu_ms"),
        "ratio_defaults": ratio("exporter_defaults", "ours_defaults"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    if not EXPORTER.exists():
        sys.exit(f"{EXPORTER} is not there: apt-get install prometheus-postgres-exporter")
    with tempfile.TemporaryDirectory(prefix="custode-bench-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        found: dict[str, Any] = asyncio.run(measure(rounds, Path(name)))
    for name, figures in found.items():
        print(f"{name:26}", figures)
    print(json.dumps({"rounds": rounds} | ratios(found) | found | {"machine": machine()}))


if __name__ == "__main__":
    main()
