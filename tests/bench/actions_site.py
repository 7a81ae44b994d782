"""A daemon's engine on a state database, for the benchmarks: everything that serves it, and an action that tells."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from actions import Action, Job, Plan, Progress, Step, Target, Verdict
from actions._action import Figures
from daemon import clock
from daemon.actions import ActionEvent, Run
from daemon.actions.engine import Engine
from daemon.actions.ledger import Ledger
from daemon.actions.means import Disk, MayChange, Means
from daemon.actions.operators import Operators
from daemon.actions.switch import Switches
from daemon.actions.takeover import application_name
from daemon.cluster import Membership, read_instance
from daemon.config import Limits
from daemon.state import StateDatabase
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Risk, Strict, Tier
from fleet.secrets import Secrets, SecretText

# no limit of an hour, or the benchmark would measure that
OPEN = Limits(per_hour=10**6, per_hour_fleet=10**6)
Note = Callable[[str, str], None]  # what happened, to which object
_FOUND = """
select count(*) from pg_class c left join pg_stat_all_tables s on s.relid = c.oid where c.relname = $1
"""


class Parameters(Strict):
    relname: str


@dataclass
class Bench(Action[Parameters]):
    """One step that does nothing; where it `looks`, its plan asks the environment first."""

    name: ClassVar[str] = "bench"
    summary: ClassVar[str] = "for benchmarks"
    risk: ClassVar[Risk] = Risk.SAFE

    note: Note
    looks: bool

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(parameters.relname, frozenset({"bench"}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found = 0
        if self.looks:
            async with job.connections.acquire() as connection:
                found = await connection.fetchval(_FOUND, parameters.relname)
        return Plan(
            f"touch {parameters.relname}",
            ("touch",),
            {"found": found},
            ({"relname": parameters.relname},),
            ("select 1",),
            "none",
        )

    def steps(self, _job: Job, parameters: Parameters, _plan: Plan) -> Sequence[Step]:
        async def touch() -> Figures:
            self.note("in_step", parameters.relname)
            return {"touched": 1}

        return (Step("touch", touch),)

    async def verify(self, _job: Job, _parameters: Parameters, _plan: Plan) -> Verdict:
        return Verdict(True, "it was touched", {"found": 1})


@dataclass
class BenchWorld:
    """Connections as `DaemonWorld` has them: those that read are kept, those that write are each run's own."""

    environments: Mapping[str, Environment]
    note: Note
    firing: set[str] = field(default_factory=set)  # the objects whose alerts are
    _secrets: Secrets = field(default_factory=lambda: Secrets(time.monotonic))
    _reading: dict[str, Connections] = field(default_factory=dict)

    def environment(self, name: str) -> Environment | None:
        return self.environments.get(name)

    def job(self, run: Run, environment: Environment, progress: Progress, may_change: MayChange) -> Job:
        self.note("taken", run.object)
        reading = self._reading.get(environment.name)
        if reading is None:
            reading = self._reading[environment.name] = Connections(environment, self._secrets)
        name = application_name(run.id, run.attempt)
        changes = Connections(environment, self._secrets, read_only=False, application_name=name, check=may_change)
        return Job(
            run_id=run.id,
            attempt=run.attempt,
            started_at=run.begun_at or clock.now(),
            environment=environment,
            connections=reading,
            changes=changes,
            secrets=self._secrets,
            stores={},
            now=clock.now,
            progress=progress,
            data=dict(run.data),
        )

    async def reread(self, _environment: str, _subjects: Sequence[str]) -> None:
        return

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        return alert.get("relname") in self.firing

    async def disk(self, _environment: str) -> Disk | None:
        return None

    def emit(self, event: ActionEvent) -> None:
        self.note(event.kind.value, event.run.object)

    async def close(self) -> None:
        for connections in self._reading.values():
            await connections.close()


@dataclass(frozen=True, slots=True)
class Site:
    state: StateDatabase
    engine: Engine
    membership: Membership
    world: BenchWorld


def environments(count: int, dsn: str) -> dict[str, Environment]:
    """All on one server, each as QA is guarded."""
    policy = TIER_DEFAULTS[Tier.QA]
    values = {"tier": Tier.QA, "dsn": SecretText(dsn), "databases": ("bench",), "policy": policy}
    names = [f"env-{number:02}" for number in range(count)]
    return {name: Environment.model_validate({"name": name, "tls": {"mode": "disable"}, **values}) for name in names}


@asynccontextmanager
async def site(
    world: BenchWorld, data_dir: Path, *, limits: Limits, looks: bool = False, url: SecretText | None = None
) -> AsyncIterator[Site]:
    """Everything is served, and the environments are held. `url` None: the embedded database, as users get it."""
    data_dir.mkdir(mode=0o755)
    state = StateDatabase(url, data_dir, Secrets(time.monotonic))
    await state.open()
    assert state.away is None, state.away
    ledger = Ledger(state, data_dir, clock.now)
    action, operators = Bench(world.note, looks), Operators({}, "bench")
    means = Means(
        state=state,
        ledger=ledger,
        world=world,
        actions={action.name: action},
        limits=lambda: limits,
        operators=lambda: operators,
        stopped=Switches(data_dir, ledger, clock.now).read,
        now=clock.now,
    )
    membership = Membership(state, instance=read_instance(data_dir), address="127.0.0.1:0")
    engine = Engine(means, membership.id)
    membership.want(world.environments)
    async with asyncio.TaskGroup() as group:
        await membership.join()
        tasks = [group.create_task(part.serve()) for part in (state, engine, membership)]
        try:
            yield Site(state, engine, membership, world)
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])
    await world.close()
    await state.close()


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them (a ratio) do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    figures = {"p50_ms": statistics.median(seconds), "p99_ms": quantile(seconds, 0.99), "max_ms": max(seconds)}
    return {name: round(1000 * value, 2) for name, value in figures.items()}
