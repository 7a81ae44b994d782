"""After a migration: whether the schema is what the rehearsal made of it, and what a cancelled one must not leave."""

from __future__ import annotations

import asyncpg

from actions._action import Figures, Job, Plan
from actions._migration_effect import Effect, listed
from actions._migration_run import drop_left_overs, end_sessions
from fleet.errors import ConnectError
from fleet.schema import read_catalogue


async def check_after(job: Job, plan: Plan) -> Figures:
    """Look for the effect that the rehearsal had; what is wrong is left in the run's data, for the verdict."""
    datname = plan.objects[0]["datname"]
    if "effect" not in job.data:
        job.data["problems"] = []
        return {"skipped": "there was no rehearsal to compare with"}
    effect = Effect.from_json(job.data["effect"])
    async with job.connections.acquire(datname) as connection:
        problems = effect.problems(await read_catalogue(connection))
    job.data["problems"] = [listed(problems)] if problems else []
    return {"effect": effect.told(), "problems": len(problems)}


async def undo_builds(job: Job, plan: Plan) -> None:
    """Drop what is left, invalid, of the concurrent builds of a plan."""
    builds = [name for one in plan.objects for name in one.get("builds", ())]
    try:
        await end_sessions(job, plan.objects[0]["datname"])
        async with job.changes.acquire(plan.objects[0]["datname"]) as connection:
            await drop_left_overs(connection, builds)
    except asyncpg.InvalidCatalogNameError as error:
        raise ConnectError(f"{job.environment.name}: {error}") from error
