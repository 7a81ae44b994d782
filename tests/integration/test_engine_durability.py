"""What a daemon leaves in the middle another goes on with, and one that wakes too late changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from actions import Job
from daemon.actions import Outcome, Result, RunState, runs
from daemon.actions.stages._apply import _failed, _step
from daemon.actions.stages._guard import begin
from daemon.actions.turn import Ended, Parked, Turn
from daemon.actions.views import Run
from daemon.actions.work import MOST_DEATHS
from fleet.errors import ActionError, ConnectError
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, request, until
from tests.integration.scripted import SOON, Gate, Raises, Scripted, pass_by


async def left_behind(make_daemon: MakeDaemon, action: Scripted, **row: Any) -> Run:
    """A run that a daemon was at, in its second step, when it vanished: its rows say that it still is."""
    gate = Gate()
    action.second = gate
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    await daemon.stop()
    action.second = pass_by
    values = {"state": "running", "owner": "vanished", **row}
    names = ", ".join(f"{name} = ${number}" for number, name in enumerate(values, 2))
    await daemon.sql(f"update action_run set {names} where id = $1", run.id, *values.values())  # noqa: S608
    await daemon.sql("delete from pgqueuer")
    return run


@asynccontextmanager
async def sleeper(daemon: Daemon) -> AsyncIterator[Turn]:
    """A turn in its first step, of a process that has gone to sleep in it."""
    run = await daemon.ask(request())
    async with daemon.state.begin() as connection:
        claimed = await runs.claim(connection, run.id, "sleeper", daemon.world.now())
        assert claimed is not None
        claimed = await runs.write(connection, claimed, begun_at=daemon.world.now())
        await runs.begin_step(connection, claimed, 1, "first", daemon.world.now())
    turn = daemon.engine.work._turn(claimed)
    assert isinstance(turn, Turn)
    turn.applying = True
    async with daemon.state.begin() as connection:
        plan = runs.plan_json(await turn.action.plan(turn.job, turn.parameters))
        turn.run = await runs.write(connection, claimed, plan=plan)
    yield turn


async def test_a_daemon_that_stops_hands_over_at_once(make_daemon: MakeDaemon, world: TestWorld) -> None:
    gate = Gate()
    action = Scripted(second=gate)
    one = await make_daemon(action)
    run = await one.ask(request(parameters={"size": 5}))
    await gate.until_reached()
    await one.stop()
    action.second = pass_by
    two = await make_daemon(action)
    run = await two.until(run)
    assert (run.result, run.attempt, run.deaths) == (Result.FIXED, 2, 0)
    assert action.done == ["qa/first", "qa/second"]
    steps = (await two.people.run(run.id)).steps
    assert [(step.name, step.attempt, step.tries) for step in steps] == [("first", 1, 1), ("second", 2, 1)]
    assert (await two.entries(run)).count("taken_over") == 1
    assert world.told().count("taken over") == 1


async def test_all_attempts_see_the_same_beginning(make_daemon: MakeDaemon) -> None:
    """Names are made of it: what the first attempt stored, or renamed, the next one has to find."""
    gate, seen = Gate(), []

    async def note(job: Job) -> None:
        seen.append(job.started_at)
        await gate(job)

    action = Scripted(second=note)
    one = await make_daemon(action)
    run = await one.ask(request())
    await gate.until_reached()
    await one.stop()
    gate.go.set()
    two = await make_daemon(action)
    run = await two.until(run)
    assert run.attempt == 2
    assert seen == [run.begun_at, run.begun_at]


async def test_a_daemon_that_vanished_is_replaced(make_daemon: MakeDaemon) -> None:
    action = Scripted()
    run = await left_behind(make_daemon, action)
    daemon = await make_daemon(action)
    run = await daemon.until(run)
    assert (run.result, run.attempt, run.deaths) == (Result.FIXED, 2, 1)
    assert action.done == ["qa/first", "qa/second"]
    entries = await daemon.entries(run)
    assert entries.count("taken_over") == 1
    assert entries.count("step first finished") == 1


async def test_whoever_dies_of_it_again_and_again_lets_it_be(make_daemon: MakeDaemon) -> None:
    action = Scripted()
    run = await left_behind(make_daemon, action, deaths=MOST_DEATHS - 1)
    daemon = await make_daemon(action)
    run = await daemon.until(run)
    assert (run.result, run.deaths) == (Result.FAILED, MOST_DEATHS)
    assert run.outcome == "the daemon ended 5 times in the middle of it"
    assert action.done == ["qa/first"], "to undo it could be what ends it"


async def test_what_was_left_for_too_long_is_undone(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted()
    run = await left_behind(make_daemon, action)
    world.shift = 3700
    daemon = await make_daemon(action)
    run = await daemon.until(run)
    assert run.result is Result.FAILED
    assert "too long to go on" in (run.outcome or "")
    assert action.done == ["qa/first", "qa/undone"]


async def test_cancelled_while_nobody_is_there(make_daemon: MakeDaemon) -> None:
    action = Scripted()
    run = await left_behind(make_daemon, action, asked="cancel", asked_by="anna")
    daemon = await make_daemon(action)
    run = await daemon.until(run)
    assert (run.result, run.outcome) == (Result.CANCELLED, "cancelled by anna")
    assert action.done == ["qa/first", "qa/cancelled"]


@pytest.mark.parametrize("asked", [None, "cancel"])
async def test_a_sleeper_s_sessions_are_ended_before_anything_else_is_done(
    make_daemon: MakeDaemon, asked: str | None
) -> None:
    seen: list[bool] = []
    daemon = await make_daemon(action := Scripted(), environments=[])
    async with sleeper(daemon) as turn, turn.job.changes.acquire() as session:
        pid = session.get_server_pid()

        async def looks(job: Job) -> None:
            async with job.connections.acquire() as connection:
                seen.append(bool(await connection.fetch("select from pg_stat_activity where pid = $1", pid)))

        action.first = action.undoing = looks
        await daemon.sql("update action_run set asked = $2 where id = $1", turn.run.id, asked)
        daemon.engine.serve_environments(["qa"])
        run = await daemon.until(turn.run)
        assert seen == [False]
        assert run.result is (Result.CANCELLED if asked else Result.FIXED)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await session.execute("select 1")


async def test_a_sleeper_who_wakes_can_change_nothing(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate), environments=[])
    async with sleeper(daemon) as turn:
        daemon.engine.serve_environments(["qa"])
        await gate.until_reached()
        rows = (
            "select s::text || r.attempt || r.state || r.data as s from action_run r join action_step s on run_id = id"
        )
        with pytest.raises(runs.FencedError):
            async with turn.job.changes.acquire():
                pass
        before = await daemon.sql(rows)
        first, work = turn.action.steps(turn.job, turn.parameters, turn.plan)[0], daemon.engine.work
        for late in (
            lambda: _step(turn, 1, first),
            lambda: _failed(turn, 1, first, 1, ConnectError("late")),
            lambda: begin(turn),
            lambda: work._settle(turn, Parked("retry", "late")),
            lambda: work._settle(turn, Ended(Outcome(turn.run.id, Result.FIXED, "late"))),
        ):
            turn.run = replace(turn.run, begun_at=None)
            with pytest.raises(runs.FencedError):
                await late()
        await work._hand_back(turn)
        assert [row["s"] for row in await daemon.sql(rows)] == [row["s"] for row in before]
        assert await daemon.sql("select from ledger where facts::text like '%late%'") == []
        gate.go.set()
        assert (await daemon.until(turn.run)).result is Result.FIXED


async def test_a_place_that_cannot_be_reached_is_taken_over_later(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted()
    run = await left_behind(make_daemon, action)
    there = world.environments["qa"]
    world.environments["qa"] = there.model_copy(update={"dsn": type(there.dsn)("postgresql://x@127.0.0.1:1/x")})
    daemon = await make_daemon(action)
    run = await daemon.until(run, RunState.QUEUED)
    assert "taking it over: qa: cannot connect" in (run.parked or "")
    assert action.done == ["qa/first"]
    world.environments["qa"] = there
    await daemon.later(6)
    assert (await daemon.until(run)).result is Result.FIXED


async def test_a_pulse_that_finds_another_at_it_ends_the_work(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    ended = asyncio.Event()

    async def hangs(job: Job) -> None:
        try:
            await gate(job)
        except asyncio.CancelledError:
            ended.set()
            raise

    action = Scripted(first=hangs)
    one = await make_daemon(action)
    run = await one.ask(request())
    await gate.until_reached()
    one.engine.queue.serve_environments([])  # it has not noticed yet that the environment is no longer its own
    gate.reached.clear()
    two = await make_daemon(action)
    await gate.until_reached()
    await asyncio.wait_for(ended.wait(), SOON)
    await until(lambda: one.engine.running() == [])
    gate.go.set()
    run = await two.until(run)
    assert (run.result, run.attempt, run.deaths) == (Result.FIXED, 2, 1)
    assert action.done == ["qa/first", "qa/second"]
    assert (await two.entries(run)).count("outcome fixed") == 1


async def test_an_undo_that_was_interrupted_is_done_again(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(first=Raises(ActionError("no")), undoing=gate)
    one = await make_daemon(action)
    run = await one.ask(request())
    await gate.until_reached()
    await one.stop()
    action.undoing = pass_by
    two = await make_daemon(action)
    run = await two.until(run)
    assert run.result is Result.FAILED
    assert action.done[-1] == "qa/undone"
