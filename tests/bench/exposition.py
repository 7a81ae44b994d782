"""`/metrics` with 100,000 series against prometheus-client: `python -m tests.bench.exposition` (make bench-exposition).

Interleaved rounds, medians. The last line is one JSON object, times in milliseconds. `serve_*` is what a reader waits
for, `land_*` what it costs to render and compress all series, every one with a new value (`land_steady` with the same
values again, `land_first` with label sets never seen). `ratio` is prometheus-client's time to render the same series
divided by ours to serve, `ratio_landed` the same with our landing added, as if everything changed before each reader.
`loop_lag_max` is the largest delay of the event loop while all of it lands and another process reads over HTTP, and
`loop_blocked_max` what of it was our own work (CPU time of the loop's thread; the rest is other processes' share of the
cores). The garbage collector is told of a finished start-up first, as the daemon does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors import Family, gauge
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web.server import WebServer
from fleet.process import check_exit, running

METRICS = 10
ENVIRONMENTS = ("development", "qa", "preprod", "production")
LABELS = ("datname", "schemaname", "relname", "indexrelname")
FAMILY = Family(LABELS, tuple(gauge(f"bench_index_{n}", f"Figure {n} of an index.") for n in range(METRICS)))
READ = """
import sys, urllib.request
for _ in range(3):
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers)).read()
"""
Records = list[tuple[str | float, ...]]


def make_records(count: int, seed: int) -> Records:
    """Rows of four labels and ten values, half of them integers, half random fractions (the dearest to write)."""
    draw = random.Random(seed)  # noqa: S311 - made-up figures, the same in every run
    rows: Records = []
    for n in range(count):
        labels = ("app", "public", f"table_{n // 5}", f"table_{n // 5}_index_{n % 5}")
        whole = tuple(draw.randrange(10**9) for _ in range(METRICS // 2))
        rows.append((*labels, *whole, *(draw.random() * 1e6 for _ in range(METRICS - METRICS // 2))))
    return rows


def environment_labels(name: str) -> dict[str, str]:
    return {"environment": name, "tier": name}


class Same(Collector):
    """The same series for prometheus-client, built beforehand: only its rendering is measured."""

    def __init__(self, records: Records) -> None:
        self._families = []
        for index, metric in enumerate(FAMILY.metrics, start=len(LABELS)):
            family = GaugeMetricFamily(metric.name, metric.help, labels=["environment", "tier", *LABELS])
            for name in ENVIRONMENTS:
                for record in records:
                    labels = [str(value) for value in record[: len(LABELS)]]
                    family.add_metric([name, name, *labels], float(record[index]))
            self._families.append(family)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


async def land(page: Page, records: Records) -> None:
    for name in ENVIRONMENTS:
        await page.land(environment_labels(name), "bench", [FAMILY.rows(records)])


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


async def landing(page: Page, records: Records) -> float:
    started = time.perf_counter()
    await land(page, records)
    return (time.perf_counter() - started) * 1000


async def largest_lag(page: Page, versions: Sequence[Records]) -> tuple[float, float]:
    """Milliseconds late by the clock and by our own CPU time; a child process reads plain and gzip meanwhile."""
    gc.collect()
    gc.freeze()
    server = WebServer(page, not_ready=lambda: None, reload=lambda: asyncio.sleep(0))
    await server.start("127.0.0.1", 0)
    late: list[float] = []
    busy: list[float] = []

    async def probe() -> None:
        while True:
            due, worked = time.perf_counter() + 0.001, time.thread_time()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - due) * 1000)
            busy.append((time.thread_time() - worked) * 1000)

    async def land_all() -> None:
        for records in versions:
            await land(page, records)

    async with running([sys.executable, "-c", READ, f"{server.address}/metrics"]) as child:
        async with asyncio.TaskGroup() as group:
            probing = group.create_task(probe())
            while child.returncode is None:
                await land_all()
            probing.cancel()
        check_exit(["reader"], child, await child.stderr.read() if child.stderr else b"")
    await server.stop()
    return max(late), max(busy)


async def measure(series: int, rounds: int) -> dict[str, float]:
    count = series // METRICS // len(ENVIRONMENTS)
    versions = [make_records(count, seed) for seed in range(2)]
    page = Page(Telemetry().render)
    times: dict[str, list[float]] = {"land_first": [await landing(page, versions[1])]}
    late, busy = await largest_lag(page, versions)
    times |= {"loop_lag_max": [late], "loop_blocked_max": [busy]}
    theirs = CollectorRegistry()
    theirs.register(Same(versions[0]))
    for _ in range(rounds):
        found = {
            "land": await landing(page, versions[0]),
            "land_steady": await landing(page, versions[0]),
            "serve_plain": milliseconds(lambda: page.pieces(openmetrics=False, gzip=False)),
            "serve_gzip": milliseconds(lambda: page.pieces(openmetrics=False, gzip=True)),
            "join_plain": milliseconds(lambda: page.render(openmetrics=False, gzip=False)),
            "client_plain": milliseconds(lambda: generate_latest(theirs)),
            "client_gzip": milliseconds(lambda: gzip.compress(generate_latest(theirs))),
        }
        await landing(page, versions[1])
        for name, value in found.items():
            times.setdefault(name, []).append(value)
    result = {f"{name}_ms": statistics.median(values) for name, values in times.items()}
    result["page_bytes"] = len(page.render(openmetrics=False, gzip=False))
    result["page_gzip_bytes"] = len(page.render(openmetrics=False, gzip=True))
    result["client_gzip_bytes"] = len(gzip.compress(generate_latest(theirs)))
    for form in ("plain", "gzip"):
        suffix = "" if form == "plain" else "_gzip"
        client, serve = result[f"client_{form}_ms"], result[f"serve_{form}_ms"]
        result[f"ratio{suffix}"] = client / serve
        result[f"ratio_landed{suffix}"] = client / (serve + result["land_ms"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.series, arguments.rounds))
    print(json.dumps({"series": arguments.series} | {name: round(value, 3) for name, value in result.items()}))


if __name__ == "__main__":
    main()
