"""A scraper as a test needs it, and small collectors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from collectors import Collector, Family, Rows, Target, gauge
from daemon.exposition import Page
from daemon.scrape import Batch, Scraper
from fleet.environment import Environment
from fleet.secrets import Secrets

HOUR = timedelta(hours=1)


class Probe(Collector):
    """Asks the server for a number."""

    name = "probe"
    summary = "for tests"
    families = (Family((), (gauge("probe_answer", "An answer."),)),)

    async def collect(self, target: Target) -> list[Rows]:
        return [self.families[0].rows(await target.fetch("select 42"))]


class PerDatabase(Collector):
    """Asks every database for its name."""

    name = "per_database"
    summary = "for tests"
    families = (Family(("datname",), (gauge("probe_database", "One for each database."),)),)

    async def collect(self, target: Target) -> list[Rows]:
        return [self.families[0].rows(await target.fetch_each("select current_database(), 1"))]


class Sleeper(Collector):
    """Waits in the server for longer than anybody wants."""

    name = "sleeper"
    summary = "for tests"
    families = ()

    async def collect(self, target: Target) -> list[Rows]:
        await target.fetch("select pg_sleep(60)")
        return []


@dataclass(slots=True)
class Scraping:
    """A running scraper, its page, and the batches that it told of."""

    scraper: Scraper
    page: Page
    listeners: list[Callable[[Batch], None]]
    batches: list[Batch] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._changed.set()

    def of(self, environment: str, collector: str) -> list[Batch]:
        return [batch for batch in self.batches if (batch.environment, batch.collector) == (environment, collector)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a batch after which `condition` holds, for 20 seconds at most."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def value(self, name: str, **labels: str) -> str | None:
        """The value of the one series on the page that has these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            line.rpartition(" ")[2]
            for line in self.page.render(openmetrics=False, gzip=False).decode().splitlines()
            if line.startswith(f"{name}{{") and all(pair in line for pair in wanted)
        ]
        assert len(found) <= 1, found
        return found[0] if found else None


@asynccontextmanager
async def scraping(
    *environments: Environment,
    collectors: tuple[type[Collector], ...],
    options: Mapping[str, Collector.Options] | None = None,
) -> AsyncIterator[Scraping]:
    """Scrape once and then hourly, unless `options` by collector say otherwise; stop on leaving."""
    listeners: list[Callable[[Batch], None]] = []
    page = Page()
    scraper = Scraper(
        collectors={collector.name: collector for collector in collectors},
        page=page,
        secrets=Secrets(time.monotonic),
        now=time.time,
        on_batch=listeners,
    )
    running = Scraping(scraper, page, listeners)
    listeners.append(running.heard)
    chosen = {collector.name: Collector.Options(interval=HOUR) for collector in collectors} | dict(options or {})
    async with asyncio.TaskGroup() as group:
        scraper.start(group)
        await scraper.apply({environment.name: environment for environment in environments}, chosen, {})
        try:
            yield running
        finally:
            await scraper.stop()
