"""The tickers: every collector of every environment at its own interval, first all at once.

Each run is a task of its own, so a slow or dead environment delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from collectors import Collector, Metric
from daemon.exposition import Page
from daemon.scrape._batch import Batch
from daemon.scrape._watch import Surroundings, Watch
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import DaemonError
from fleet.secrets import Secrets
from fleet.stores import Store

log = structlog.get_logger()

FIRST_RUN_SPACING = 0.02  # seconds between the first runs of an environment, not to hit it with all at once
JITTER_RATIO = 0.1  # of the interval


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a new configuration means for one environment."""

    environment: Environment
    keep: frozenset[str]
    add: tuple[Collector, ...]


class Scraper:
    """Runs the collectors. `now` gives unix seconds; `on_batch` is told of every batch after it landed.

    A listener must not block. Call `stop` before the task group of `start` ends.
    """

    def __init__(
        self,
        *,
        collectors: Mapping[str, type[Collector]],
        page: Page,
        secrets: Secrets,
        now: Callable[[], float],
        on_batch: Sequence[Callable[[Batch], None]] = (),
    ) -> None:
        self._collectors = collectors
        self._page = page
        self._secrets = secrets
        self._now = now
        self._on_batch = on_batch
        self._watches: dict[str, Watch] = {}
        self._reference: Connections | None = None  # only of one that is not watched here
        self._group: asyncio.TaskGroup | None = None
        self._scheduler = AsyncIOScheduler(timezone=UTC)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to tick; runs belong to `group`. What is to be run is told by `apply`."""
        # its warnings repeat at every tick what custode_collector_last_success_timestamp_seconds shows
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._group = group
        self._scheduler.start()

    async def stop(self) -> None:
        """Cancel all runs and close all connections; takes no longer than one environment's CANCEL_SECONDS."""
        await self._close(list(self._watches))
        await self._connect_reference(None)
        await asyncio.sleep(0)  # the tickers see that their runs ended
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
            await asyncio.sleep(0)  # APScheduler does it in the next turn of the loop

    def not_ready(self) -> str | None:
        """Why the page is not complete yet; None once every collector of every environment was tried."""
        if not self._watches:
            return "no environment is watched yet"
        waiting = [f"{name} ({', '.join(watch.untried)})" for name, watch in self._watches.items() if watch.untried]
        return f"not tried yet: {'; '.join(waiting)}" if waiting else None

    def waiting(self) -> int:
        """Of how many environments not every collector was tried yet."""
        return sum(bool(watch.untried) for watch in self._watches.values())

    async def apply(
        self,
        environments: Mapping[str, Environment],
        options: Mapping[str, Collector.Options],
        stores: Mapping[str, Store],
        *,
        reference: Environment | None = None,
    ) -> None:
        """Watch these environments with these collectors, from now on.

        `reference` is whose schema the others must match; it may be another daemon's to watch.

        What did not change goes on undisturbed; what is gone vanishes from the page. Nothing changes when a collector
        cannot be made of its options.

        Raises:
            Exception: whatever a collector's constructor raises.
        """
        plans = [self._plan(environment, options) for environment in environments.values()]
        await self._close(
            [name for name, watch in self._watches.items() if environments.get(name) != watch.environment]
        )
        around = Surroundings(self._running_group(), self._page, stores, self._now, self._tell)
        for plan in plans:
            if plan.environment.name not in self._watches:
                watch = Watch(plan.environment, Connections(plan.environment, self._secrets), around)
                self._watches[plan.environment.name] = watch
        around = replace(around, reference=await self._connect_reference(reference))
        for plan in plans:
            watch = self._watches[plan.environment.name]
            watch.around = around
            await self._change(watch, plan)

    async def settle(self) -> None:
        """Wait for the end of the runs that are under way."""
        tasks = [task for watch in self._watches.values() for task in watch.running]
        if tasks:
            await asyncio.wait(tasks)

    async def scrape_now(self, environment: str, collectors: Iterable[str] | None = None) -> list[Batch]:
        """Run collectors of an environment (None: all) and wait for their end; disabled ones are left out.

        A run that is under way does not count, as it may have read before what is to be seen.

        Raises:
            DaemonError: no such environment is watched.
        """
        watch = self._watches.get(environment)
        if watch is None:
            raise DaemonError(
                f"no environment {environment!r} is watched", hint=f"known are: {', '.join(self._watches)}"
            )
        names = watch.collectors if collectors is None else [name for name in collectors if name in watch.collectors]
        tasks = [watch.begin(name) for name in names]
        if tasks:
            await asyncio.wait(tasks)
        return [task.result() for task in tasks if not task.cancelled()]

    def errors(self, environment: str) -> dict[str, str]:
        """Why the last runs of its collectors did not succeed, by their names; of those that did, nothing."""
        watch = self._watches.get(environment)
        return {} if watch is None else watch.errors

    def metrics(self) -> Iterator[Metric]:
        """The metrics that the collectors may give."""
        return (one for kind in self._collectors.values() for family in kind.families for one in family.metrics)

    async def _connect_reference(self, reference: Environment | None) -> Connections | None:
        """Those that its watch has; where it is not ours to watch, some of its own."""
        watch = None if reference is None else self._watches.get(reference.name)
        if self._reference is not None and (watch is not None or self._reference.environment != reference):
            await self._reference.close()
            self._reference = None
        if watch is not None or reference is None:
            return None if watch is None else watch.connections
        self._reference = self._reference or Connections(reference, self._secrets)
        return self._reference

    def _plan(self, environment: Environment, options: Mapping[str, Collector.Options]) -> _Plan:
        watch = self._watches.get(environment.name)
        running = watch.collectors if watch and watch.environment == environment else {}
        wanted = {name: chosen for name, chosen in options.items() if chosen.enabled}
        keep = frozenset(name for name, collector in running.items() if wanted.get(name) == collector.options)
        add = tuple(self._collectors[name](chosen) for name, chosen in wanted.items() if name not in keep)
        return _Plan(environment, keep, add)

    async def _change(self, watch: Watch, plan: _Plan) -> None:
        for name in watch.collectors.keys() - plan.keep:
            self._scheduler.remove_job(_job(watch, name))
            await watch.remove(name)
        for index, collector in enumerate(plan.add):
            watch.add(collector)
            watch.begin(collector.name, after=index * FIRST_RUN_SPACING)
            self._schedule(watch, collector)

    def _schedule(self, watch: Watch, collector: Collector) -> None:
        interval = collector.options.interval
        jitter = interval * JITTER_RATIO
        self._scheduler.add_job(
            self._tick,
            # APScheduler adds up to `jitter` to every interval; this keeps their mean what was asked for
            IntervalTrigger(
                seconds=(interval - jitter / 2).total_seconds(), jitter=jitter.total_seconds(), timezone=UTC
            ),
            args=(watch, collector.name),
            id=_job(watch, collector.name),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def _tick(self, watch: Watch, name: str) -> None:
        if name not in watch.collectors or watch.is_running(name):
            return
        # waiting for the task, not awaiting it: its cancellation is no error of the ticker
        await asyncio.wait([watch.begin(name)])

    def _tell(self, batch: Batch) -> None:
        for listener in self._on_batch:
            try:
                listener(batch)
            except Exception:  # the boundary of a listener: a broken one stops neither scraping nor the others
                log.exception("batch_listener_failed", environment=batch.environment, collector=batch.collector)

    async def _close(self, names: Sequence[str]) -> None:
        for name in names:
            for collector in self._watches[name].collectors:
                self._scheduler.remove_job(_job(self._watches[name], collector))
        await asyncio.gather(*(self._watches.pop(name).close() for name in names))

    def _running_group(self) -> asyncio.TaskGroup:
        if self._group is None:
            raise DaemonError("the scraper was not started")
        return self._group


def _job(watch: Watch, collector: str) -> str:
    return f"{watch.environment.name}/{collector}"
