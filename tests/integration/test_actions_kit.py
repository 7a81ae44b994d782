"""What holds for every action, whoever wrote it: the loader is asked, so that none is forgotten."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from actions import Action, Job, Plan
from daemon.parts import make_actions
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, CopyPolicy, Tier
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import CASES, Case, Ground, close, job_for

ACTIONS = make_actions()
QA = TIER_DEFAULTS[Tier.QA]
POLICY = QA.model_copy(update={"backup": QA.backup.model_copy(update={"copies": {"offsite": CopyPolicy()}})})


@pytest.fixture
async def ground(
    server: EmbeddedServer, database: str, sql: asyncpg.Connection, tmp_path: Path
) -> AsyncIterator[Ground]:
    ground = Ground(server.dsn(database), database, sql, tmp_path / "store")
    yield ground
    await ground.close()


class Trial:
    """An action in its trouble: each `job` is another process that has taken the run over."""

    def __init__(self, name: str, ground: Ground, environment: Environment) -> None:
        self.action: Action[Any] = ACTIONS[name]
        self.case: Case = CASES[name]
        self.ground = ground
        self.environment = environment
        self.jobs: list[Job] = []
        self.parameters: Any = None

    async def plant(self) -> None:
        said = await self.case.plant(self.ground)
        self.parameters = self.action.parameters().model_validate(said)

    def job(self, data: Mapping[str, Any] | None = None, **fields: Any) -> Job:
        places = {"local": self.ground.store, "offsite": self.ground.copy}
        stores = {name: LocalStore(LocalStore.Options(path=path)) for name, path in places.items()}
        more: dict[str, Any] = {"run_id": self.ground.run_id, "attempt": len(self.jobs) + 1, "stores": stores}
        more |= {"data": json.loads(json.dumps(data or {}))} | fields
        others = {self.environment.name: self.environment, **self.case.others(self.ground.dsn, self.ground.database)}

        def elsewhere(name: str) -> Job:
            self.jobs.append(job_for(others[name], **more))
            return self.jobs[-1]

        tiers = {name: each.tier for name, each in others.items()}
        self.jobs.append(job_for(self.environment, elsewhere=elsewhere, tiers=tiers, **more))
        return self.jobs[-1]

    async def plan(self, job: Job | None = None) -> Plan:
        return await self.action.plan(job or self.job(), self.parameters)

    async def effects(self) -> int:
        return await self.case.effects(self.ground)


@pytest.fixture(params=list(ACTIONS))
async def trial(
    request: pytest.FixtureRequest, ground: Ground, make_environment: Callable[..., Environment]
) -> AsyncIterator[Trial]:
    assert request.param in CASES, "every action has a case in actions_kit.py"
    fields = CASES[request.param].settings(ground.store.parent)
    trial = Trial(request.param, ground, make_environment(**({"policy": POLICY} | dict(fields))))
    await trial.plant()
    yield trial
    for job in trial.jobs:
        await close(job)


async def nobody() -> None:
    raise ActionError("nothing may be changed now")


async def test_a_plan_says_all_and_changes_nothing(trial: Trial) -> None:
    job = trial.job(check=nobody)
    plan = await trial.plan(job)
    assert plan.steps
    assert plan.summary
    assert plan.effect
    assert plan.commands
    assert plan.objects
    assert tuple(step.name for step in trial.action.steps(job, trial.parameters, plan)) == plan.steps
    assert len(set(plan.steps)) == len(plan.steps)
    assert json.loads(json.dumps(plan.objects)) == list(plan.objects), "objects are kept as JSON"
    again = await trial.plan(trial.job(check=nobody))
    assert (again.steps, again.commands, again.objects) == (plan.steps, plan.commands, plan.objects)
    assert await trial.effects() == 0
    async with job.connections.acquire() as connection:
        assert await connection.fetchval("show default_transaction_read_only") == "on"
        assert await connection.fetchval("show transaction_read_only") == "on"


async def test_the_steps_write_through_the_fence_only(trial: Trial) -> None:
    job = trial.job(check=nobody)
    plan = await trial.plan(job)
    refused = pytest.raises(ActionError, match="nothing may be changed now")
    with refused if trial.case.fenced else nullcontext():
        await trial.action.steps(job, trial.parameters, plan)[0].run()
    if trial.case.fenced:
        assert await trial.effects() == 0


async def test_a_whole_run_helps_and_the_next_one_has_nothing_to_do(trial: Trial) -> None:
    job = trial.job()
    plan = await trial.plan(job)
    for step in trial.action.steps(job, trial.parameters, plan):
        await step.run()
    verdict = await trial.action.verify(job, trial.parameters, plan)
    assert verdict.fixed, verdict.reason
    assert plan.figures
    assert plan.figures.keys() <= verdict.figures.keys(), "the world after is told by the same names"
    assert dict(plan.figures) != dict(verdict.figures)
    assert await trial.effects() == trial.case.expected
    assert await trial.case.left_overs(trial.ground) == 0
    again = await trial.plan()
    assert bool(again.steps) == trial.case.repeats


async def test_a_verification_without_the_steps_is_honest(trial: Trial) -> None:
    job = trial.job(check=nobody)
    plan = await trial.plan(job)
    verdict = await trial.action.verify(job, trial.parameters, plan)
    assert not verdict.fixed
    assert verdict.reason


async def test_every_step_is_harmless_when_another_process_repeats_it(trial: Trial) -> None:
    """Killed after the work of a step and before that is on record: the next attempt runs it again."""
    job = trial.job()
    plan = await trial.plan(job)
    data: Mapping[str, Any] = {}
    for number in range(len(plan.steps)):
        for _ in range(2):
            job = trial.job(data)
            await trial.action.steps(job, trial.parameters, plan)[number].run()
        data = job.data
    verdict = await trial.action.verify(job, trial.parameters, plan)
    assert verdict.fixed, verdict.reason
    assert await trial.effects() == trial.case.expected
    assert await trial.case.left_overs(trial.ground) == 0


async def test_undo_after_half_a_run_leaves_nothing_and_can_be_repeated(trial: Trial) -> None:
    job = trial.job()
    plan = await trial.plan(job)
    await trial.action.steps(job, trial.parameters, plan)[0].run()
    done = await trial.effects()
    for data in (job.data, {}):
        await trial.action.undo(trial.job(data), trial.parameters, plan)
        assert await trial.effects() == done
        assert await trial.case.left_overs(trial.ground) == 0


async def test_it_says_what_it_works_on(trial: Trial) -> None:
    target = trial.action.target(trial.parameters)
    assert target.databases == frozenset({trial.ground.database} if trial.case.works_in else ())


def test_every_case_belongs_to_an_action() -> None:
    assert CASES.keys() == ACTIONS.keys()
