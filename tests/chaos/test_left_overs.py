"""Databases that a run leaves that nobody continues: kept as long as it may go on, dropped once it has ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actions import Action, Job
from actions.cleanup import Cleanup
from actions.refresh import Refresh
from actions.relieve_disk import RelieveDisk
from daemon.actions.others import ended_among
from daemon.state import StateDatabase
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.secrets import Secrets, SecretText
from tests.chaos.site import Site, Trouble, run
from tests.chaos.trial import KILLED
from tests.chaos.worker import make_environment
from tests.integration.actions_kit import CASES, at_work, close, job_for, run_all
from tests.integration.data_trouble import count_beside
from tests.integration.states import state_template

__all__ = ["state_template"]

_END = "update custode.action_run set state = 'ended', result = 'failed', owner = null, ended_at = now()"
# nobody has said yet whose it is; it is to be filled; it has all its rows
POINTS = {
    "made": "change create database custode_new_~ owner postgres template templa 1, after",
    "named": "change alter database custode_new_~ rename to t_env_~_new_~ 1, after",
    "filled": 'change COPY "public"."users"("id", "email", "name") FROM STDIN (FOR 1, after',
}


@pytest.fixture
def site(server: EmbeddedServer, scratch: Path, state_template: str) -> Site:
    return Site(server, scratch, state_template)


def place(trouble: Trouble) -> Environment:
    orders = trouble.orders
    return make_environment("qa", orders.dsn, orders.database, **CASES["refresh"].settings(Path(orders.directory)))


@asynccontextmanager
async def knowing(trouble: Trouble) -> AsyncIterator[Job]:
    """Another run, which can tell of others what the state database can."""
    state = StateDatabase(SecretText(trouble.orders.state_url), Path(trouble.orders.directory), Secrets(time.monotonic))
    await state.open()
    try:
        async with at_work(place(trouble), ended=partial(ended_among, state)) as job:
            yield job
    finally:
        await state.close()


async def killed(trouble: Trouble, point: str) -> str:
    """The id of the run whose worker was killed there."""
    assert await run(replace(trouble.orders, kill=point)) == KILLED
    run_id: str = await trouble.state.fetchval("select id from custode.action_run")
    return run_id


@pytest.mark.parametrize("point", POINTS)
async def test_it_goes_with_the_next_cleanup_once_its_run_has_ended(site: Site, point: str) -> None:
    async with site.trouble("refresh") as trouble, knowing(trouble) as job:
        ground = replace(trouble.ground, run_id=await killed(trouble, POINTS[point]))
        assert await count_beside(ground) == 1
        actions: list[Action[Any]] = [Cleanup(), RelieveDisk()]
        asked = [action.parameters()() for action in actions]
        for action, said in zip(actions, asked, strict=True):
            assert not (await action.plan(job, said)).steps, "its run may go on"
        await trouble.state.execute(_END)
        plans = [await action.plan(job, said) for action, said in zip(actions, asked, strict=True)]
        assert [len(plan.steps) for plan in plans] == [1, 1]
        await run_all(actions[0], job, asked[0], plans[0])
        assert await count_beside(ground) == 0
        assert (await actions[0].verify(job, asked[0], plans[0])).fixed
        assert (await run_all(actions[1], job, asked[1], plans[1]))[0].keys() == {"skipped"}


async def test_the_next_refresh_takes_it_away(site: Site) -> None:
    async with site.trouble("refresh") as trouble, knowing(trouble) as known:
        ground = replace(trouble.ground, run_id=await killed(trouble, POINTS["filled"]))
        await trouble.state.execute(_END)
        orders = trouble.orders
        others = CASES["refresh"].others(orders.dsn, orders.database)
        tiers = {"qa": known.environment.tier, **{name: each.tier for name, each in others.items()}}
        made: list[Job] = []

        def elsewhere(name: str) -> Job:
            made.append(job_for(others[name]))
            return made[-1]

        job = replace(known, elsewhere=elsewhere, tiers=tiers)
        parameters = Refresh().parameters().model_validate(orders.parameters)
        plan = await Refresh().plan(job, parameters)
        await run_all(Refresh(), job, parameters, plan)
        assert await count_beside(ground) == 0
        for each in made:
            await close(each)


async def test_of_runs_that_nobody_knows_nothing_goes(site: Site) -> None:
    async with site.trouble("refresh") as trouble, knowing(trouble) as job:
        name = f"{trouble.ground.database}_new_ffffffffffff"
        await trouble.admin.execute(f"create database {name}")
        await trouble.admin.execute(f"comment on database {name} is 'custode restore ffffffffffff'")
        try:
            assert not (await Cleanup().plan(job, Cleanup().parameters()())).steps
            relief = await RelieveDisk().plan(job, RelieveDisk().parameters()(least_bytes=1))
            assert f"database {name} of the run ffffffffffff, which may be under way" in relief.effect
            assert not relief.steps
        finally:
            await trouble.admin.execute(f"drop database {name}")
