"""An action that counts what it does: each step inserts a row, plainly, so that a second time would be seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from actions import Action, Job, Plan, Step, Target, Verdict
from actions._action import Figures
from actions._session import alone
from fleet.policy import Risk, Strict

STEPS = 3
TABLE = "create table effects (run_id text, step int, attempt int, at timestamptz default clock_timestamp())"
_DONE = "select exists (select from effects where run_id = $1 and step = $2)"
_INSERT = "insert into effects (run_id, step, attempt) select $1, $2, $3 from pg_sleep($4)"


class Parameters(Strict):
    object: str
    step_seconds: float


class Counting(Action[Parameters]):
    name = "counting"
    summary = "for tests"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ()

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(parameters.object)

    async def plan(self, _job: Job, parameters: Parameters) -> Plan:
        return Plan(f"count {parameters.object}", tuple(f"count {number}" for number in range(1, STEPS + 1)))

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_count, job, number, parameters.step_seconds))
            for number, name in enumerate(plan.steps, 1)
        ]

    async def verify(self, job: Job, _parameters: Parameters, _plan: Plan) -> Verdict:
        async with job.connections.acquire() as connection:
            rows = await connection.fetchval("select count(*) from effects where run_id = $1", job.run_id)
        return Verdict(rows == STEPS, f"{rows} effects", {"effects": rows})


async def _count(job: Job, number: int, seconds: float) -> Figures:
    """Half of the time passes here, after the look, and half of it in the server, whose statement outlives us."""
    async with job.changes.acquire() as connection, alone(connection, job, f"count {number}"):
        if await connection.fetchval(_DONE, job.run_id, number):
            return {"skipped": "done by an earlier attempt"}
        await asyncio.sleep(seconds / 2)
        await connection.execute(_INSERT, job.run_id, number, job.attempt, seconds / 2)
    return {"counted": 1}
