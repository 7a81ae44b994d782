"""From an alert that begins to fire to the first step of the action that it names.

A loop as the daemon's waits for news and lets the `Dispatcher` consider what is firing. Each alert is another one, of
another object, on one of four environments of a real server; the plan asks that server a question. The alert ends with
the step, as if the step had mended it. State and environments each have an embedded server, the former with fsync.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from daemon import clock
from daemon.dispatch import Dispatcher
from fleet.embedded import EmbeddedServer
from rules import AlertView, Labels, State
from tests.bench.actions_site import OPEN, Bench, BenchWorld, environments, milliseconds, site

DISPATCH_SECONDS = 5.0  # as in the daemon
MISSED_SECONDS = 20.0
ENVIRONMENTS = 4
TARGETS = {"p50_ms": 50.0, "p99_ms": 300.0}
# what is passed on the way, in order: submitted (committed), claimed, guarded and planned, begun, first step
WAY = ("fired", "requested", "taken", "planned", "begun", "in_step")
PARTS = ("submit", "queue", "guard_plan", "begin", "first_step")


@dataclass
class Course:
    """When each mark of the run under way was passed, by `time.perf_counter`; later ones of the same name are not."""

    marks: dict[str, float] = field(default_factory=dict)
    firing: list[AlertView] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    world: BenchWorld | None = None

    def note(self, what: str, relname: str) -> None:
        self.marks.setdefault(what, time.perf_counter())
        if what == "in_step" and self.world is not None:
            self.firing.clear()
            self.world.firing.discard(relname)
        if what == "done":
            self.done.set()

    async def dispatch(self, dispatcher: Dispatcher) -> None:
        while True:
            self.news.clear()
            await dispatcher.consider(list(self.firing), clock.now(), None)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.news.wait(), DISPATCH_SECONDS)

    async def fire(self, world: BenchWorld, number: int) -> list[float]:
        """Let an alert fire and wait until its run has ended; the moments of `WAY`."""
        relname = f"table_{number}"
        labels = {"alertname": "BenchTrouble", "environment": f"env-{number % ENVIRONMENTS:02}", "action": Bench.name}
        view = firing_since(clock.now(), {**labels, "relname": relname})
        self.marks.clear()
        self.done.clear()
        world.firing.add(relname)
        self.firing.append(view)
        self.marks["fired"] = time.perf_counter()
        self.news.set()
        async with asyncio.timeout(MISSED_SECONDS):
            await self.done.wait()
        return [self.marks[name] for name in WAY]


def firing_since(now: float, labels: dict[str, str]) -> AlertView:
    return AlertView(
        name=labels["alertname"],
        labels=Labels(labels),
        annotations={"summary": "trouble"},
        value=1.0,
        state=State.FIRING,
        active_at=now,
        fired_at=now,
        resolved_at=None,
        keep_firing_since=None,
        sets=frozenset({"action"}),
    )


async def measure(directory: Path, runs: int) -> dict[str, Any]:
    server = await asyncio.to_thread(EmbeddedServer.start, directory / "guarded")
    try:
        course = Course()
        world = course.world = BenchWorld(environments(ENVIRONMENTS, server.dsn()), course.note)
        moments = []
        async with site(world, directory / "alert", limits=OPEN, looks=True) as daemon, asyncio.TaskGroup() as group:
            daemon.engine.serve_environments(daemon.membership.held)
            dispatcher = Dispatcher(daemon.engine.submit, daemon.engine.means.actions)
            loop = group.create_task(course.dispatch(dispatcher))
            await asyncio.sleep(2.0)  # the queue is there
            for number in range(runs):
                moments.append(await course.fire(world, number))
                if number % 50 == 0:
                    print(f"alert_to_step: {number + 1} of {runs}", file=sys.stderr, flush=True)
                await asyncio.sleep(0.02 + 0.03 * (number % 11))  # not in step with anything's interval
            loop.cancel()
    finally:
        await asyncio.to_thread(server.stop)
    return summary(moments)


def summary(moments: Sequence[Sequence[float]]) -> dict[str, Any]:
    figures: dict[str, Any] = {"runs": len(moments), **milliseconds([one[-1] - one[0] for one in moments])}
    figures |= {f"ratio_{name}": round(figures[name] / target, 3) for name, target in TARGETS.items()}
    parts = zip(*([later - earlier for earlier, later in pairwise(one)] for one in moments), strict=True)
    return figures | {"parts": {name: milliseconds(part) for name, part in zip(PARTS, parts, strict=True)}}
