"""The page judged by software that nobody here wrote: promtool, and a real Prometheus that scrapes it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import collectors
from collectors import Collector, Family
from daemon.exposition import Page
from daemon.scrape import Batch
from daemon.scrape._batch import about_environment, about_run
from daemon.telemetry import Telemetry
from daemon.web.server import WebServer
from fleet.plugins import load_plugins
from fleet.process import running

PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
ODD = 'a "quoted" \\ città\n'
LABELS = {"environment": "qa", "tier": "qa", "team": ODD}
SERIES = 3000
MANY = Family(("n",), (collectors.gauge("probe_many", "Many, to fill several gzip members."),))


@pytest.fixture
async def page() -> Page:
    """Every family of every collector, those of the scrape loop, and the daemon's own."""
    page = Page(Telemetry().render)
    for name, collector in load_plugins(collectors, Collector).items():
        rows = [
            family.rows([(*map(str, family.labels), *(1.5 for _ in family.metrics))]) for family in collector.families
        ]
        await page.land(LABELS, name, rows)
    batch = Batch(
        environment="qa", labels=LABELS, collector="x", started=1.0, duration=0.1, gaps={"hba": "permission denied"}
    )
    await page.land(LABELS, "meta", [*about_run(batch, 1.0), *about_environment(True)])
    return page


@pytest.mark.peer
@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) is not installed")
async def test_promtool_finds_nothing(page: Page, tmp_path: Path) -> None:
    shown = tmp_path / "page.txt"
    shown.write_bytes(page.render(openmetrics=False, gzip=False))
    async with running(["sh", "-c", f"exec promtool check metrics < '{shown}'"]) as child:
        stdout, stderr = await child.communicate()
    assert (stdout + stderr).decode() == ""
    assert child.returncode == 0


@pytest.mark.peer
@pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed")
async def test_prometheus_scrapes_openmetrics_in_gzip_members(page: Page, tmp_path: Path) -> None:
    await page.land(LABELS, "many", [MANY.rows([(n, n / 7) for n in range(SERIES)])])
    negotiated: set[tuple[str, str | None]] = set()

    async def note(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/metrics":
            negotiated.add((response.content_type, response.headers.get("Content-Encoding")))

    server = WebServer(page, not_ready=lambda: None, reload=lambda: asyncio.sleep(0))
    server.application.on_response_prepare.append(note)
    await server.start("127.0.0.1", 0)
    async with prometheus(server.address, tmp_path) as query:
        assert await query("up") == [({"__name__": "up", "instance": "custode", "job": "custode"}, 1.0)]
        [(labels, value)] = await query("custode_up")
        assert (labels["environment"], labels["team"], value) == ("qa", ODD, 1.0)
        assert await query("count(custode_probe_many)") == [({}, float(SERIES))]
        assert await query("sum(custode_probe_many)") == [({}, pytest.approx(sum(range(SERIES)) / 7))]
        [(labels, value)] = await query("custode_collector_gap_info")
        assert (labels["what"], value) == ("hba", 1.0)
        [(labels, _)] = await query("custode_build_info")
        assert labels["version"]
        samples = sum(not line.startswith("#") for line in page.render(True, gzip=False).decode().splitlines())
        assert await query("max(scrape_samples_scraped)") == [({}, float(samples))]
    await server.stop()
    assert negotiated == {("application/openmetrics-text", "gzip")}


@asynccontextmanager
async def prometheus(target: str, directory: Path) -> AsyncIterator[Any]:
    """A Prometheus that has scraped `target`; gives a function that evaluates a query to (labels, value) pairs."""
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "  - job_name: custode\n"
        "    static_configs:\n"
        f"      - targets: ['{target.removeprefix('http://')}']\n"
        "        labels: {instance: custode}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    async with running(command), aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

        async def query(expression: str) -> list[tuple[dict[str, str], float]]:
            async with session.get("/api/v1/query", params={"query": expression}) as response:
                found = (await response.json())["data"]["result"]
            return [(entry["metric"], float(entry["value"][1])) for entry in found]

        async with asyncio.timeout(30):
            await _until_scraped(query)
        yield query


async def _until_scraped(query: Any) -> None:
    with suppress(aiohttp.ClientError, KeyError):
        if await query("up"):
            return
    await asyncio.sleep(0.2)
    await _until_scraped(query)
