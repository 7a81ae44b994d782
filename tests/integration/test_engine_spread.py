"""Several daemons on one state database: each environment's work goes where it is looked after."""

from __future__ import annotations

import asyncio

import pytest

from daemon.actions import Result
from daemon.actions.views import Run
from daemon.state import raw
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, request, until
from tests.integration.scripted import SOON, Gate, Scripted, pass_by

LATE = 4711  # an advisory lock: until it is free, no run is written down as parked
_PARKED_LATE = f"""
do $do$ begin
    create function parked_late() returns trigger language plpgsql as $$ begin
        perform pg_advisory_xact_lock({LATE});
        return new;
    end $$;
    create trigger parked_late before update on action_run for each row
        when (new.ground like '%_busy') execute function parked_late();
end $do$
"""


async def owner(daemon: Daemon, run: Run) -> str | None:
    (row,) = await daemon.sql("select owner from action_run where id = $1", run.id)
    return None if row["owner"] is None else str(row["owner"])


async def test_work_goes_where_the_environment_is_looked_after(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(first=gate)
    one = await make_daemon(action, environments=["qa"])
    two = await make_daemon(action, environments=["qa2", "dev"])
    runs = {name: await daemon.ask(request(name, name)) for daemon, name in ((two, "qa"), (one, "qa2"), (one, "dev"))}
    await until(lambda: len(one.engine.running()) == 1 and len(two.engine.running()) == 2)
    gate.go.set()
    for run in runs.values():
        assert (await one.until(run)).attempt == 1
    assert sorted(action.done) == sorted(f"{name}/{step}" for name in runs for step in ("first", "second"))


@pytest.mark.usefixtures("hardly_sweeps")
async def test_nobody_looks_after_it_so_it_waits(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted(), environments=["qa2"])
    run = await daemon.ask(request())
    assert (await daemon.until(await daemon.ask(request("k2", "qa2")))).result is Result.FIXED
    assert (await daemon.people.run(run.id)).run.attempt == 0
    daemon.engine.serve_environments(["qa"])
    assert (await daemon.until(run)).result is Result.FIXED


@pytest.mark.usefixtures("hardly_sweeps")
async def test_an_environment_moves_with_what_is_queued_and_what_runs(
    make_daemon: MakeDaemon, world: TestWorld
) -> None:
    gate = Gate()
    action = Scripted(second=gate)
    one = await make_daemon(action, environments=["qa", "dev"], at_once_environment=1)
    two = await make_daemon(action, environments=[], at_once_environment=1)
    stays = await one.ask(request("stays", "dev"))
    moves = await one.ask(request("moves", "qa"))
    waits = await one.ask(request("waits", "qa", parameters={"object": "other"}))

    async def both() -> bool:
        return len(await one.sql("select from action_run where step = 'second'")) == 2

    await until(both)
    action.second = pass_by
    one.engine.serve_environments(["dev"])
    two.engine.serve_environments(["qa"])
    moved = await two.until(moves)
    assert (moved.result, moved.deaths) == (Result.FIXED, 0)
    assert (await two.until(waits)).result is Result.FIXED
    assert await owner(one, stays) == "daemon0"
    gate.go.set()
    assert (await one.until(stays)).attempt == 1
    assert action.done.count("qa/first") == 2, "one of each run"
    assert world.told().count("taken over") == 1


@pytest.mark.parametrize("turns", range(6))
async def test_a_daemon_stops_at_any_moment(make_daemon: MakeDaemon, turns: int) -> None:
    daemon = await make_daemon(Scripted())
    for _ in range(turns):
        await asyncio.sleep(0)
    daemon.engine.look()
    await asyncio.wait_for(daemon.stop(), SOON)


@pytest.mark.usefixtures("hardly_sweeps")
async def test_a_daemon_wakes_those_that_wait_for_room_elsewhere(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(first=gate, store="s3")
    one = await make_daemon(action, environments=["qa"])
    two = await make_daemon(action, environments=["qa2"])
    first = await one.ask(request("k1", "qa"))
    await gate.until_reached()
    second = await two.ask(request("k2", "qa2"))

    async def waits() -> bool:
        return (await two.people.run(second.id)).run.ground == "store_busy"

    await until(waits)
    gate.go.set()
    assert (await one.until(first)).result is Result.FIXED
    assert (await two.until(second)).result is Result.FIXED


@pytest.mark.usefixtures("hardly_sweeps")
@pytest.mark.parametrize("environment", ["qa", "qa2"])
async def test_what_it_waits_for_ends_before_it_is_put_down_that_it_waits(
    make_daemon: MakeDaemon, environment: str
) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate), at_once=1)
    first = await daemon.ask(request("k1", "qa", parameters={"object": "other"}))
    await gate.until_reached()
    async with daemon.state.begin() as held:
        session = await raw(held)
        await session.execute("select pg_advisory_xact_lock($1)", LATE)
        await daemon.sql(_PARKED_LATE)
        second = await daemon.ask(request("k2", environment))

        async def decided() -> bool:
            return bool(await daemon.sql("select from pg_locks where objid = $1 and not granted", LATE))

        await until(decided)
        gate.go.set()
        assert (await daemon.until(first)).result is Result.FIXED
    assert (await daemon.until(second)).result is Result.FIXED
