"""A minute of random deaths: two daemons, four environments, thirty runs that count; kill -9 and SIGSTOP by chance."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import asyncpg

from daemon.actions.work import MOST_DEATHS
from daemon.state import StateDatabase
from fleet.secrets import Secrets, SecretText
from migrations.state import QUEUE_NAMES
from tests.chaos.counting import STEPS, TABLE, Counting
from tests.chaos.member import LIMITS, MemberOrders, serve
from tests.chaos.site import Site, ended, start
from tests.chaos.worker import assemble
from tests.integration.engines import request

ENVIRONMENTS, RUNS, DAEMONS = 4, 30, 2
STEP_SECONDS = 1.0
CALM_SECONDS = 180.0  # after the storm, until all has ended and the queue is empty
_OPEN = f"""
    select 'runs', count(*) from custode.action_run where state <> 'ended'
    union all select 'jobs of the queue', count(*) from custode.{QUEUE_NAMES["queue_table"]}
"""  # noqa: S608 - a name of ours
_RUNS = "select id, environment, result, outcome, deaths, attempt from custode.action_run"


@dataclass
class Victim:
    """A daemon that is killed and started again, or frozen for a while."""

    orders: MemberOrders
    process: ForkServerProcess
    kills: int = 0
    freezes: int = 0

    async def suffer(self, chance: random.Random) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(chance.uniform(1.0, 6.0))
            if chance.random() < 0.6:
                await self.kill()
                self.kills += 1
                await asyncio.sleep(chance.uniform(0.0, 3.0))
                self.process = start(serve, self.orders)
            else:
                self.signal(signal.SIGSTOP)
                self.freezes += 1
                try:
                    await asyncio.sleep(chance.uniform(0.5, 10.0))
                finally:
                    self.signal(signal.SIGCONT)

    def signal(self, which: signal.Signals) -> None:
        if self.process.pid is not None:
            os.kill(self.process.pid, which)

    async def kill(self) -> None:
        self.process.kill()
        await ended(self.process)
        self.process.join()


@dataclass
class Storm:
    """What has become of it."""

    seed: int
    kills: int = 0
    freezes: int = 0
    calm_seconds: float = 0.0
    results: Counter[str] = field(default_factory=Counter)
    deaths: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    logs: str = ""

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {result}" for result, count in self.results.items())
        deaths = ", ".join(f"{count} runs died {number} times" for number, count in sorted(self.deaths.items()))
        said = "; ".join(self.problems) or "ok"
        return (
            f"storm, seed {self.seed}: {self.kills} kills, {self.freezes} freezes | {ends}; {deaths};"
            f" calm after {self.calm_seconds:.0f} s | {said}"
        )


async def storm(site: Site, scratch: Path, seed: int, seconds: float) -> Storm:
    """Of so many seconds; then all must come to its end, with every effect exactly once."""
    found = Storm(seed)
    async with AsyncExitStack() as stack:
        state_url = await stack.enter_async_context(site.state_database("t_storm_state"))
        names = [f"t_storm_{number}" for number in range(ENVIRONMENTS)]
        urls = {name: await stack.enter_async_context(site.database(name)) for name in names}
        for url in urls.values():
            await _execute(url, TABLE)
        await _ask(MemberOrders(state_url, urls, str(scratch)))
        async with _daemons(scratch, state_url, urls, seed) as victims:
            await _rage(victims, seed, seconds)
            begun = time.monotonic()
            if (late := await _calm(state_url)) is not None:
                found.problems.append(late)
            found.calm_seconds = time.monotonic() - begun
        found.kills = sum(victim.kills for victim in victims)
        found.freezes = sum(victim.freezes for victim in victims)
        await _count(found, state_url, urls)
        logs = [(Path(victim.orders.directory) / "log").read_text() for victim in victims]
        found.logs = "".join(f"--- log of daemon {number}:\n{log[-6000:]}\n" for number, log in enumerate(logs))
    return found


async def _ask(orders: MemberOrders) -> None:
    """For all runs, before anybody works."""
    state = StateDatabase(SecretText(orders.state_url), Path(orders.directory), Secrets(time.monotonic))
    await state.open()
    actions = {Counting.name: Counting()}
    engine, _ = assemble(state, orders.world, Path(orders.directory), owner="asker", actions=actions, limits=LIMITS)
    names = list(orders.environments)
    for number in range(RUNS):
        wanted = {"object": f"object {number}", "step_seconds": STEP_SECONDS}
        environment = names[number % len(names)]
        await engine.submit(request(f"storm {number}", environment, Counting.name, parameters=wanted))
    await state.close()


@asynccontextmanager
async def _daemons(scratch: Path, state_url: str, urls: Mapping[str, str], seed: int) -> AsyncIterator[list[Victim]]:
    victims: list[Victim] = []
    try:
        for number in range(DAEMONS):
            directory = scratch / f"storm-{seed}-{number}"
            directory.mkdir()
            orders = MemberOrders(state_url, urls, str(directory))
            victims.append(Victim(orders, start(serve, orders)))
        yield victims
    finally:
        for victim in victims:
            await victim.kill()


async def _rage(victims: list[Victim], seed: int, seconds: float) -> None:
    async with asyncio.TaskGroup() as group:
        chances = [random.Random(f"{seed} {number}") for number in range(len(victims))]  # noqa: S311 - to be repeated
        tasks = [group.create_task(one.suffer(chance)) for one, chance in zip(victims, chances, strict=True)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    for victim in victims:
        if not victim.process.is_alive():  # it was dead when the storm ended
            victim.process = start(serve, victim.orders)


async def _calm(state_url: str) -> str | None:
    """What was not over when time was up."""
    state = await asyncpg.connect(state_url)
    end = time.monotonic() + CALM_SECONDS
    try:
        while any((left := {row[0]: row[1] for row in await state.fetch(_OPEN)}).values()):
            if time.monotonic() > end:
                return f"left are: {left}"
            await asyncio.sleep(0.2)
    finally:
        await state.close()
    return None


async def _count(found: Storm, state_url: str, urls: Mapping[str, str]) -> None:
    """Each step has one effect; of a run that died too often none has two. A verdict may be unknown after a freeze."""
    state = await asyncpg.connect(state_url)
    runs = {row["id"]: row for row in await state.fetch(_RUNS)}
    await state.close()
    effects: Counter[tuple[str, int]] = Counter()
    for url in urls.values():
        sql = await asyncpg.connect(url)
        effects.update((row["run_id"], row["step"]) for row in await sql.fetch("select run_id, step from effects"))
        await sql.close()
    if len(runs) != RUNS:
        found.problems.append(f"{len(runs)} runs instead of {RUNS}")
    for run in runs.values():
        found.results[str(run["result"])] += 1
        found.deaths[run["deaths"]] += 1
        counts = [effects.pop((run["id"], number), 0) for number in range(1, STEPS + 1)]
        given_up = run["result"] == "failed" and run["deaths"] >= MOST_DEATHS
        went_through = run["result"] in ("fixed", "not_fixed") and counts == [1] * STEPS
        if not (went_through or (given_up and max(counts) <= 1)):
            found.problems.append(
                f"{run['id']} is {run['result']} ({str(run['outcome']).splitlines()[0]}), effects {counts}"
            )
    if effects:
        found.problems.append(f"effects of nobody: {dict(effects)}")


async def _execute(url: str, statement: str) -> None:
    sql = await asyncpg.connect(url)
    await sql.execute(statement)
    await sql.close()
