"""A pipeline in a world of its own, and actions that do as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prometheus_client import CollectorRegistry, Counter

from actions import Action, Job, Plan, Step, Verdict
from actions._action import Figures, Progress
from daemon.actions import ActionEvent, Ledger, Limits, Outcome, Pipeline, Request, Result
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Risk, Strict, Tier
from fleet.secrets import Secrets
from fleet.stores import Store


class Nothing(Strict):
    size: int = 1


async def pass_by() -> None:
    return


@dataclass
class Scripted(Action[Nothing]):
    """Does what the test hands in at each stage."""

    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "for tests"
    risk: ClassVar[Risk] = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("tables",)

    planning: Callable[[], Awaitable[None]] = pass_by
    work: Callable[[], Awaitable[None]] = pass_by
    verdict: Verdict | Exception = field(default_factory=lambda: Verdict(True, "it is done", {"rows": 3}))
    done: list[str] = field(default_factory=list)

    def parameters(self) -> type[Nothing]:
        return Nothing

    async def plan(self, job: Job, parameters: Nothing) -> Plan:
        await self.planning()
        return Plan(
            f"work of size {parameters.size} on {job.environment.name}", ("first", "second"), {"size": parameters.size}
        )

    def steps(self, job: Job, parameters: Nothing) -> Sequence[Step]:
        async def first() -> Figures:
            self.done.append(f"{job.environment.name}/first")
            return {"rows": parameters.size}

        async def second() -> Figures:
            job.progress(0.5, "half of it")
            await self.work()
            self.done.append(f"{job.environment.name}/second")
            return {}

        return Step("first", first), Step("second", second)

    async def verify(self, job: Job, parameters: Nothing) -> Verdict:
        assert f"{job.environment.name}/second" in self.done
        assert parameters.size
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


class Dangerous(Scripted):
    name: ClassVar[str] = "dangerous"
    risk: ClassVar[Risk] = Risk.DANGEROUS


@dataclass
class TestWorld:
    """A daemon as the pipeline sees it; the clock stands still unless a test moves it."""

    __test__ = False

    environments: dict[str, Environment]
    stores: Mapping[str, Store] = field(default_factory=dict)
    firing: bool = False
    time: float = 1_785_312_900.0
    events: list[ActionEvent] = field(default_factory=list)
    fresh: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    read: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    refuse_reread: Exception | None = None
    connections: dict[str, Connections] = field(default_factory=dict)

    def now(self) -> float:
        return self.time

    def job(self, environment: str, run_id: str, started_at: float, progress: Progress) -> Job | None:
        found = self.environments.get(environment)
        if found is None:
            return None
        secrets = Secrets(time.monotonic)
        connections = self.connections.setdefault(environment, Connections(found, secrets))
        return Job(run_id, started_at, found, connections, secrets, self.stores, self.now, progress)

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        if self.refuse_reread:
            raise self.refuse_reread
        self.read.append((environment, tuple(subjects)))

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        return self.firing and alert["environment"] in self.environments

    def emit(self, event: ActionEvent) -> None:
        self.events.append(event)
        self.fresh.put_nowait(event.title)

    async def until(self, title: str, times: int) -> None:
        while times:
            times -= await self.fresh.get() == title

    def told(self) -> list[str]:
        return [event.title for event in self.events]


def environment(name: str = "qa", tier: Tier = Tier.QA) -> Environment:
    return Environment.model_validate(
        {"name": name, "tier": tier, "dsn": "postgresql://nobody@127.0.0.1:1/x", "policy": TIER_DEFAULTS[tier]}
    )


@pytest.fixture
async def world() -> AsyncIterator[TestWorld]:
    world = TestWorld({name: environment(name) for name in ("qa", "qa2", "qa3")})
    yield world
    for connections in world.connections.values():
        await connections.close()


MakePipeline = Callable[..., Pipeline]


@pytest.fixture
def make_pipeline(world: TestWorld, tmp_path: Path) -> Iterator[MakePipeline]:
    opened: list[Ledger] = []

    def make(*actions: Action[Any], ledger: Ledger | None = None, **limits: Any) -> Pipeline:
        ledger = ledger or Ledger.open(tmp_path / "actions.jsonl")
        opened.append(ledger)
        counter = Counter("custode_actions", "-", ["action", "outcome"], registry=CollectorRegistry())
        return Pipeline(
            world,
            {action.name: action for action in actions},
            ledger,
            tmp_path,
            counter,
            world.now,
            Limits(**limits),
        )

    yield make
    for ledger in opened:
        ledger.close()


ALERT = {"alertname": "TooOld", "environment": "qa"}


def request(key: str = "k1", environment: str = "qa", action: str = "scripted", **fields: Any) -> Request:
    return Request(environment, action, key, "alert TooOld", 1.0, **fields)


def count(pipeline: Pipeline, result: Result, action: str = "scripted") -> float:
    return sum(
        sample.value
        for metric in pipeline.counter.collect()
        for sample in metric.samples
        if sample.name == "custode_actions_total" and sample.labels == {"action": action, "outcome": result.value}
    )


def entries(pipeline: Pipeline, outcome: Outcome) -> list[tuple[str, ...]]:
    shown = []
    for entry in pipeline.ledger.entries(outcome.run_id):
        words = [entry["entry"], *(str(entry[key]) for key in ("name", "state", "allowed", "result") if key in entry)]
        shown.append(tuple(words))
    return shown
