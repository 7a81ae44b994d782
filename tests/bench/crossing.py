"""From a threshold crossed to the event told: `python -m tests.bench.crossing` (make bench-crossing).

The daemon as it is, in this process, guards the demonstration's four servers with all shipped rules and one more, on
sessions left in a failed transaction. Such a session is made and unmade on one server, 200 crossings; after each the
collector that sees it is asked to run, as its interval would be waited for otherwise. Everything else goes on: scrapes,
groups on their interval, the journal.

The last line is one JSON object, times in milliseconds: `batch_to_event_*` from when the batch landed to when the alert
was told, `crossing_to_event_*` from the statement that made the difference, with the run of the collector in between;
`missed` are crossings that were not told within ten seconds, `unexpected` events that no crossing explains.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from daemon.app import Custode
from daemon.config import Settings, load
from daemon.demo.configuration import write_configuration
from daemon.demo.fleet import DemoFleet, temporary_directory
from daemon.demo.history import make_history
from daemon.parts import make_stores
from daemon.scrape import Batch
from fleet.secrets import Secrets
from rules import State, Transition
from tests.bench.machine import machine

ENVIRONMENT, COLLECTOR, ALERT = "qa", "activity", "BenchFailedTransaction"
ROWS = 2000
SETTLE_SECONDS = 15.0
MISSED_SECONDS = 10.0
RULES = f"""\
groups:
  - name: crossing
    rules:
      - alert: {ALERT}
        expr: custode_sessions{{environment="{ENVIRONMENT}",state="idle in transaction (aborted)"}} > 0
"""


Crossing = tuple[float, float]  # seconds to the event, from the batch that tells of it and from the statement


@dataclass(frozen=True, slots=True)
class Found:
    """The crossings, how many were not told in time, and how many events there were in all."""

    crossings: list[Crossing]
    missed: int
    events: int


class Watched(Custode):
    """The daemon, and when it landed the batches and told the transitions that count here."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.told: list[tuple[State, float]] = []
        self.heard = asyncio.Event()
        self.landed_at: list[float] = []

    def _on_batch(self, batch: Batch) -> None:
        if (batch.environment, batch.collector) == (ENVIRONMENT, COLLECTOR):
            self.landed_at.append(time.perf_counter())
        super()._on_batch(batch)

    def _publish(self, transition: Transition) -> None:
        if transition.labels.value("alertname") == ALERT:
            self.told.append((transition.after, time.perf_counter()))
            self.heard.set()
        super()._publish(transition)

    async def crossing(self, session: asyncpg.Connection, statement: str, expected: State) -> Crossing | None:
        """Make the difference and wait for the event; None where it was not told."""
        landed_before, told_before, began = len(self.landed_at), len(self.told), time.perf_counter()
        with suppress(asyncpg.DivisionByZeroError):
            await session.execute(statement)
        done = time.perf_counter()
        await self._scraper.scrape_now(ENVIRONMENT, [COLLECTOR])
        try:
            async with asyncio.timeout(MISSED_SECONDS):
                while expected not in [state for state, _ in self.told[told_before:]]:
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            return None
        told = next(at for state, at in self.told[told_before:] if state == expected)
        landed = [at for at in self.landed_at[landed_before:] if at <= told]
        # a scheduled run may have seen it before the statement was known to have ended
        batch = next((at for at in landed if at >= done), landed[-1])
        return told - batch, told - began


async def cross(daemon: Watched, dsn: str, crossings: int) -> Found:
    session = await asyncpg.connect(dsn)
    found = []
    for number in range(0, crossings, 2):
        found.append(await daemon.crossing(session, "begin; select 1 / 0", State.FIRING))
        found.append(await daemon.crossing(session, "rollback", State.RESOLVED))
        if number % 20 == 0:
            print(f"{number + 2} crossings", file=sys.stderr, flush=True)
        await asyncio.sleep(0.03 * (number % 11))  # not in step with the intervals of the rest
    await session.close()
    return Found([one for one in found if one is not None], found.count(None), len(daemon.told))


async def measure(directory: Path, crossings: int) -> Found:
    fleet = await DemoFleet.start(directory, ROWS, lambda _name, _done, _total: None)
    try:
        config = await write_configuration(fleet, None)
        rules = directory / "crossing.yml"
        rules.write_text(RULES, encoding="utf-8")
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
        content["rules"]["files"] = [str(rules)]
        content["notifiers"].pop("console")
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        settings = load(config)
        await make_history(settings, next(iter(make_stores(settings, Secrets(time.monotonic)).values())))
        daemon, ready = Watched(settings), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(daemon.run(lambda _: ready.set()))
            await ready.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            found = await cross(daemon, fleet.dsn(ENVIRONMENT), crossings)
            running.cancel()
    finally:
        await fleet.stop()
    return found


def summary(name: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000.0 * one for one in seconds)
    figures = {
        "p50": statistics.median(ordered),
        "p99": statistics.quantiles(ordered, n=100, method="inclusive")[98],
        "max": ordered[-1],
    }
    return {f"{name}_{figure}_ms": round(value, 2) for figure, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crossings", type=int, default=200)
    arguments = parser.parse_args()
    directory = temporary_directory()
    try:
        found = asyncio.run(measure(directory, arguments.crossings))
    finally:
        shutil.rmtree(directory)
    told = len(found.crossings)
    result: dict[str, Any] = {
        "crossings": told + found.missed,
        "missed": found.missed,
        "unexpected": found.events - told,
    }
    result |= summary("batch_to_event", [batch for batch, _ in found.crossings])
    result |= summary("crossing_to_event", [whole for _, whole in found.crossings])
    print(json.dumps(result | {"machine": machine()}))


if __name__ == "__main__":
    main()
