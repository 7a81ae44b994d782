"""One watched environment: its connections, its collectors, and what is remembered between their runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from collectors import Collector, Rows
from daemon.exposition import Page
from daemon.scrape._batch import Batch, about_environment, about_run
from daemon.scrape._run import ObservedTarget, describe, run_collector
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.stores import Store

log = structlog.get_logger()

UP = "up"  # the source of custode_up on the page, beside the collectors
CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all environments share. `group` owns the runs; `tell` hears of every batch that landed.

    `reference` leads to the environment whose schema the others must match.
    """

    group: asyncio.TaskGroup
    page: Page
    stores: Mapping[str, Store]
    now: Callable[[], float]
    tell: Callable[[Batch], None]
    reference: Connections | None = None


@dataclass(slots=True)
class _Course:
    """A collector and the course of its runs; the lock keeps them one after the other."""

    collector: Collector
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    tried: bool = False
    last_success: float | None = None
    problem: str | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[Rows, ...] = ()


class Watch:
    """Runs the collectors of one environment and lands what they give on the page."""

    def __init__(self, environment: Environment, connections: Connections, around: Surroundings) -> None:
        self.environment = environment
        self.around = around
        self.connections = connections
        self._courses: dict[str, _Course] = {}
        self._tasks: dict[asyncio.Task[Batch], str] = {}
        self._up: bool | None = None

    @property
    def collectors(self) -> dict[str, Collector]:
        return {name: course.collector for name, course in self._courses.items()}

    @property
    def untried(self) -> list[str]:
        """Collectors that have not finished a first run."""
        return [name for name, course in self._courses.items() if not course.tried]

    @property
    def errors(self) -> dict[str, str]:
        """Why the last runs did not succeed, by collector."""
        return {name: course.problem for name, course in self._courses.items() if course.problem is not None}

    @property
    def running(self) -> list[asyncio.Task[Batch]]:
        return list(self._tasks)

    def add(self, collector: Collector) -> None:
        self._courses[collector.name] = _Course(collector)

    async def remove(self, name: str) -> None:
        """Stop a collector and let its series vanish."""
        await _cancel([task for task, collector in self._tasks.items() if collector == name])
        del self._courses[name]
        self.around.page.drop(self.environment.name, name)

    async def close(self) -> None:
        """Stop everything within CANCEL_SECONDS, close the connections, let the series vanish."""
        await _cancel(list(self._tasks))
        self._courses.clear()
        await self.connections.close()
        self.around.page.drop(self.environment.name)

    def is_running(self, name: str) -> bool:
        return self._courses[name].lock.locked()

    def begin(self, name: str, *, after: float = 0.0) -> asyncio.Task[Batch]:
        """Start a run `after` some seconds; it waits for one that is under way."""
        task = self.around.group.create_task(self._run(self._courses[name], after))
        self._tasks[task] = name
        task.add_done_callback(self._tasks.pop)
        return task

    async def _run(self, course: _Course, after: float) -> Batch:
        await asyncio.sleep(after)
        async with course.lock:
            collector = course.collector
            target = self._target()
            batch = await run_collector(collector, target, collector.options.timeout, course.rows)
            course.rows = batch.rows
            batch = await self._land(course, batch)
            course.tried = True
            _report(course, batch)
            self.around.tell(batch)
        return batch

    def _target(self) -> ObservedTarget:
        around, now = self.around, self.around.now()
        other = around.reference
        if other is None or other.environment.name == self.environment.name:
            return ObservedTarget(self.environment, self.connections, now, around.stores)
        reference = ObservedTarget(other.environment, other, now)
        return ObservedTarget(self.environment, self.connections, now, around.stores, reference=reference)

    async def _land(self, course: _Course, batch: Batch) -> Batch:
        page = self.around.page
        turned = batch.reached is not None and batch.reached != self._up
        if turned:
            self._up = batch.reached
        complete = _with_meta(batch, course.last_success)
        try:
            await page.land(batch.labels, batch.collector, (*complete.rows, *complete.meta))
        except (TypeError, ValueError) as error:
            broken = replace(batch, rows=(), series=0, error=describe(error))
            complete = _with_meta(broken, course.last_success)
            await page.land(batch.labels, batch.collector, complete.meta)
        if complete.success:
            course.last_success = batch.started
        environment = about_environment(self._up)
        if turned:
            await page.land(batch.labels, UP, environment)
        return replace(complete, meta=(*complete.meta, *environment))


def _with_meta(batch: Batch, last_success: float | None) -> Batch:
    return replace(batch, meta=about_run(batch, batch.started if batch.success else last_success))


def _report(course: _Course, batch: Batch) -> None:
    """Log what changed since the last run, so that a lasting fault is one line and not one a run."""
    fields = {"environment": batch.environment, "collector": batch.collector}
    if _constant(batch.problem) != _constant(course.problem):
        if batch.problem is None:
            log.info("collector_recovered", **fields)
        else:
            log.warning("collector_failed", **fields, error=batch.problem)
    for what in batch.gaps.keys() - course.gaps.keys():
        log.warning("collector_sees_less", **fields, what=what, reason=batch.gaps[what])
    course.problem, course.gaps = batch.problem, batch.gaps


def _constant(problem: str | None) -> str | None:
    """A problem without its numbers: process ids and durations differ from run to run."""
    return problem if problem is None else re.sub(r"\d+", "#", problem)


async def _cancel(tasks: Sequence[asyncio.Task[Batch]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
