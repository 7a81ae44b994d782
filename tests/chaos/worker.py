"""A daemon's engine as a process of its own: asks for the run, answers where people are asked, works until it ends.

python -m tests.chaos.worker '{"state_url": ..., "kill": "commit Work.take 1, before"}'
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from actions import Action, Job, Progress
from daemon.actions import ActionEvent, Run, RunState
from daemon.actions import work as work_module
from daemon.actions.engine import Engine
from daemon.actions.ledger import Ledger
from daemon.actions.means import Disk, MayChange, Means
from daemon.actions.operators import Operators
from daemon.actions.people import People
from daemon.actions.switch import Switches
from daemon.config import Limits, OperatorSettings
from daemon.parts import make_actions
from daemon.state import StateDatabase
from daemon.world import CHANGE_SECONDS
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Consent, ConsentPolicy, CopyPolicy, Tier
from fleet.secrets import Secrets, SecretText
from tests.chaos.boundaries import Boundaries
from tests.chaos.watched import WatchedConnections, WatchedSession, WatchedState, WatchedStore
from tests.integration.actions_kit import CASES
from tests.integration.engines import TestWorld, request

PERSON = "anna"
KEY = "chaos"
STORES = {"local": "store", "offsite": "offsite"}
ROOM = Disk(50 << 30, 100 << 30)  # nobody scrapes here; what an action adds to the disk has to fit in something


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is to do, and at which point it dies, or has its run cancelled; as JSON on the command line."""

    state_url: str
    dsn: str
    database: str
    directory: str  # its own, with the store, the trace and the log
    action: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    approved: bool = False
    kill: str | int | None = None
    cancel: str | None = None


@dataclass
class WatchedWorld(TestWorld):
    """What changes the environment goes through `boundaries`; `news` is set whenever something is told."""

    boundaries: Boundaries | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def emit(self, event: ActionEvent) -> None:
        super().emit(event)
        self.news.set()

    def job(self, run: Run, environment: Environment, progress: Progress, may_change: MayChange) -> Job:
        job = super().job(run, environment, progress, may_change)
        if self.boundaries is None:
            return job
        WatchedSession.boundaries = self.boundaries
        changes = WatchedConnections(
            environment,
            job.secrets,
            statement_seconds=CHANGE_SECONDS,
            read_only=False,
            application_name=f"custode/{run.id}/{run.attempt}",
            check=may_change,
        )
        self.opened.append(changes)
        return replace(job, changes=changes)


def make_environment(name: str, dsn: str, database: str, *, approved: bool = False, **fields: Any) -> Environment:
    consent = Consent.ONE_APPROVAL if approved else Consent.AUTO
    policy = TIER_DEFAULTS[Tier.QA].model_copy(
        update={
            "window": None,
            "consent": ConsentPolicy(safe=consent, guarded=consent),
            "backup": TIER_DEFAULTS[Tier.QA].backup.model_copy(update={"copies": {"offsite": CopyPolicy()}}),
        }
    )
    values = {"name": name, "tier": Tier.QA, "policy": policy, "tls": {"mode": "disable"}}
    return Environment.model_validate({**values, "dsn": SecretText(dsn), "databases": (database,), **fields})


def assemble(
    state: StateDatabase,
    world: TestWorld,
    data_dir: Path,
    *,
    owner: str,
    actions: Mapping[str, Action[Any]],
    limits: Limits,
) -> tuple[Engine, People]:
    """As the daemon puts them together."""
    ledger = Ledger(state, data_dir, world.now)
    switches = Switches(data_dir, ledger, world.now)
    operators = Operators({PERSON: OperatorSettings()}, PERSON)
    means = Means(
        state=state,
        ledger=ledger,
        world=world,
        actions=actions,
        limits=lambda: limits,
        operators=lambda: operators,
        stopped=switches.read,
        now=world.now,
    )
    engine = Engine(means, owner)
    return engine, People(engine, switches)


@asynccontextmanager
async def serving(state: StateDatabase, engine: Engine) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(state.serve()), group.create_task(engine.serve())]
        yield
        for task in reversed(tasks):
            task.cancel()
            await asyncio.wait([task])


async def work(orders: Orders) -> None:
    directory = Path(orders.directory)
    boundaries = Boundaries(directory / "trace", orders.kill, orders.cancel)
    fields = CASES[orders.action].settings(directory)
    qa = make_environment("qa", orders.dsn, orders.database, approved=orders.approved, **fields)
    world = WatchedWorld(
        {"qa": qa, **CASES[orders.action].others(orders.dsn, orders.database)},
        {name: WatchedStore(directory / folder, boundaries) for name, folder in STORES.items()},
        disks={"qa": ROOM},
        boundaries=boundaries,
    )
    state = WatchedState(SecretText(orders.state_url), directory, Secrets(time.monotonic), boundaries)
    await state.open()
    owner = f"worker {os.getpid()}"
    engine, people = assemble(state, world, directory, owner=owner, actions=make_actions(), limits=Limits())
    engine.serve_environments(["qa"])
    if orders.cancel:
        work_module.PULSE_SECONDS = 0.1  # who cancels need not wait
    asked = request(KEY, action=orders.action, parameters=orders.parameters, by=PERSON)
    async with serving(state, engine):
        run = (await people.submit(asked)).run

        async def cancel() -> None:
            await people.cancel(run.id, PERSON, via="chaos")
            await asyncio.Event().wait()  # until the pulse has seen it

        boundaries.on_cancel = cancel
        await _until_ended(people, world.news, run.id)
    await world.close()
    await state.close()


async def _until_ended(people: People, news: asyncio.Event, run_id: str) -> None:
    while True:
        news.clear()
        found = await people.run(run_id)
        if found.run.state is RunState.ENDED:
            return
        if found.run.state is RunState.WAITING and not found.answers:
            await people.answer(run_id, PERSON, approved=True, via="chaos")
        with suppress(TimeoutError):  # nobody tells what another process did before it died
            await asyncio.wait_for(news.wait(), 1.0)


def log_to(directory: Path) -> None:
    log = os.open(directory / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.register(signal.SIGUSR1)  # tells where it is
    shown = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    stamped = structlog.processors.TimeStamper(fmt="iso")
    structlog.configure(processors=[structlog.processors.add_log_level, stamped, shown])


def main(orders: Orders) -> None:
    """The process: 0 once the run has ended. What it logs is in its directory."""
    log_to(Path(orders.directory))
    asyncio.run(work(orders))


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
