"""The page of a large fleet: `python -m tests.bench.page` (make bench-page).

A whole daemon with 1,000 environments and 100,000 series (see `page_fleet`), asked over HTTP by processes of their own.
All the time new samples land, each series once a minute, and rules are judged. The last line is one JSON object, times
in milliseconds. `overview_ms` is the median of GETs of the overview, all environments on it, so far apart that a table
of promises is made for each; `overview_kept_ms` of those that come at once one after the other, `overview_busy_ms` with
several clients at the same time. `board_ms` is how long it takes to have a new table made, between all that is judged.

`loop_blocked_ms` is by how much, at most, the event loop came round later than it should have while several clients
asked, by the wall clock; `loop_work_ms` what of it was work of the loop's own thread (the rest is other threads and
other processes). `plain_blocked_ms` is that work, and `plain_overview_ms` the time, of a page not written in slices.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.config import LogSettings, load
from daemon.demo.fleet import temporary_directory
from daemon.logs import configure_logs
from daemon.page import slices
from fleet.process import check_exit, running
from tests.bench.machine import machine
from tests.bench.page_fleet import Fed, write_configuration

SPAN_SECONDS = 60.0  # in which every collector of every environment tells once
SETTLE_SECONDS = 20.0
STOP = "stop-actions"  # the servers are not there, so nothing is done to them
READ = """
import json, sys, time, urllib.request
url, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
took = []
for _ in range(count):
    begun = time.perf_counter()
    with urllib.request.urlopen(url, timeout=60) as answer:
        body = answer.read()
    took.append((time.perf_counter() - begun) * 1000)
    time.sleep(pause)
print(json.dumps({"took": took, "bytes": len(body), "rows": body.count(b'scope="row"')}))
"""


async def gets(url: str, count: int, pause: float) -> dict[str, Any]:
    """GET `url` so often, in a process of its own, with so many seconds between."""
    async with running([sys.executable, "-c", READ, url, str(count), str(pause)]) as child:
        out, error = await child.communicate()
        check_exit(["reader"], child, error)
    answer: dict[str, Any] = json.loads(out)
    return answer


@dataclass
class Ticker:
    """How late a task that sleeps a millisecond wakes up, and what its thread did meanwhile; in milliseconds."""

    late: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def ticking(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._tick())
            yield
            task.cancel()

    async def _tick(self) -> None:
        while True:
            due, worked = time.perf_counter() + 0.001, time.thread_time()
            await asyncio.sleep(0.001)
            self.late.append((time.perf_counter() - due) * 1000)
            self.work.append((time.thread_time() - worked) * 1000)


async def timed(work: Awaitable[object]) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1000


async def measure(custode: Fed, url: str, rounds: int, clients: int) -> dict[str, float]:
    draw = random.Random(10)  # noqa: S311 - made-up figures, the same in every run
    series = await custode.feed(draw, 0)
    await custode.settle()
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(custode.keep_feeding(draw, SPAN_SECONDS))
        await asyncio.sleep(SETTLE_SECONDS)
        boards = [await timed(custode.board()) for _ in range(rounds)]
        alone = await gets(url, rounds, 0.7)
        kept = await gets(url, rounds, 0.0)
        busy, begun = Ticker(), time.monotonic()
        async with busy.ticking():
            crowd = await asyncio.gather(*(gets(url, 2 * rounds, 0.1) for _ in range(clients)))
        seconds = time.monotonic() - begun
        plain = Ticker()
        usual, slices.SLICE_SECONDS = slices.SLICE_SECONDS, 60.0
        async with plain.ticking():
            unsliced = await gets(url, 5, 0.7)
        slices.SLICE_SECONDS = usual
        feeding.cancel()
    return {
        "environments": len(custode.settings.environments),
        "series": series,
        "rows": alone["rows"],
        "page_bytes": alone["bytes"],
        "overview_ms": statistics.median(alone["took"]),
        "overview_max_ms": max(alone["took"]),
        "overview_kept_ms": statistics.median(kept["took"]),
        "overview_busy_ms": statistics.median(took for each in crowd for took in each["took"]),
        "board_ms": statistics.median(boards),
        "clients": clients,
        "busy_s": seconds,
        "loop_blocked_ms": max(busy.late),
        "loop_blocked_p999_ms": statistics.quantiles(busy.late, n=1000)[-1],
        "loop_work_ms": max(busy.work),
        "plain_blocked_ms": max(plain.work),
        "plain_overview_ms": statistics.median(unsliced["took"]),
    }


async def run(directory: Path, environments: int, rounds: int, clients: int) -> dict[str, float]:
    settings = load(write_configuration(directory, environments))
    settings.data_dir.mkdir(mode=0o755)
    (settings.data_dir / STOP).touch()
    custode = Fed(settings)
    served: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        group.create_task(custode.run(served.set_result))
        url = await served
        try:
            return await measure(custode, url, rounds, clients)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    configure_logs(LogSettings(level="error"))
    directory = temporary_directory()
    try:
        figures = asyncio.run(run(directory, given.environments, given.rounds, given.clients))
    finally:
        shutil.rmtree(directory)
    print(json.dumps({name: round(value, 2) for name, value in figures.items()} | {"machine": machine()}))


if __name__ == "__main__":
    main()
