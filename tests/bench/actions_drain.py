"""How fast many queued runs are worked off, and whether the work ever stands still.

The runs are written as `Engine.submit` writes them, many in a transaction, while nobody serves the environments. Then
all environments are served at once; each run has one step, which does nothing.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from actions import Target
from daemon import clock
from daemon.actions import Request, Source
from daemon.actions.engine import Engine
from tests.bench.actions_site import OPEN, Bench, BenchWorld, environments, quantile, site

ENVIRONMENTS = 20
LIMITS = OPEN.model_copy(update={"at_once": 16, "at_once_environment": 2})
BATCH = 500
STALLED_SECONDS = 60.0  # without any end: given up


async def fill(engine: Engine, runs: int) -> None:
    for first in range(0, runs, BATCH):
        async with engine.means.state.begin() as connection:
            for number in range(first, min(first + BATCH, runs)):
                relname = f"table_{number}"
                environment = f"env-{number % ENVIRONMENTS:02}"
                request = Request(
                    environment=environment,
                    action=Bench.name,
                    key=f"drain:{number}",
                    requested_by="schedule bench",
                    at=clock.now(),
                    source=Source.SCHEDULE,
                    reason="bench",
                    parameters={"relname": relname},
                )
                made = await engine._insert(connection, request, Target(relname, frozenset({"bench"})))
                assert made.new
    print(f"drain: {runs} queued", file=sys.stderr, flush=True)


async def measure(directory: Path, runs: int) -> dict[str, Any]:
    ends: list[float] = []
    steps: list[str] = []
    ended = asyncio.Event()

    def note(what: str, relname: str) -> None:
        if what == "in_step":
            steps.append(relname)
        if what == "done":
            ends.append(time.perf_counter())
            ended.set()
            if len(ends) % 1000 == 0:
                print(f"drain: {len(ends)} of {runs} in {ends[-1] - began:.0f} s", file=sys.stderr, flush=True)

    world = BenchWorld(environments(ENVIRONMENTS, "postgresql:///unused"), note)
    async with site(world, directory / "drain", limits=LIMITS) as daemon:
        await fill(daemon.engine, runs)
        began, used = time.perf_counter(), time.process_time()
        daemon.engine.serve_environments(daemon.membership.held)
        while len(ends) < runs:
            ended.clear()
            async with asyncio.timeout(STALLED_SECONDS):
                await ended.wait()
        used = time.process_time() - used
    assert len(steps) == len(set(steps)) == runs, "every step once"
    gaps = [later - earlier for earlier, later in pairwise([began, *ends])]
    seconds = ends[-1] - began
    return {
        "runs": runs,
        "seconds": round(seconds, 2),
        "runs_per_second": round(runs / seconds, 1),
        "stall_s": round(max(gaps), 3),
        "gap_p99_ms": round(1000 * quantile(gaps, 0.99), 2),
        "first_end_s": round(gaps[0], 3),
        "daemon_cpu_ratio": round(used / seconds, 3),
    }
