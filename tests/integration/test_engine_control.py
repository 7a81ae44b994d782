"""What people do to runs: pause, resume, cancel, retry."""

from __future__ import annotations

import asyncio

import pytest

from actions import Job
from daemon.actions import Result, RunState, Source
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.actions.views import LedgerFilter
from daemon.config import OperatorSettings
from fleet.errors import ActionError, ConnectError
from tests.integration.engines import ALERT, Daemon, MakeDaemon, TestWorld, request, until
from tests.integration.scripted import Dangerous, Gate, Raises, Scripted


async def controls(daemon: Daemon, run_id: str) -> list[tuple[str | None, str, str]]:
    entries = await daemon.people.entries(LedgerFilter(run_id=run_id, entry="control"))
    return [(each.person, each.facts["what"], each.facts.get("decision", "done")) for each in reversed(entries)]


async def test_pause_between_two_steps_and_go_on(make_daemon: MakeDaemon, world: TestWorld) -> None:
    gate = Gate()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    assert (await daemon.people.pause(run.id, "anna", via="cli")).state is RunState.RUNNING
    gate.go.set()
    run = await daemon.until(run, RunState.PAUSED)
    assert (run.parked, action.done) == ("paused by anna", ["qa/first"])
    await daemon.later(86400)  # however long
    await daemon.people.resume(run.id, "bruno", via="cli")
    run = await daemon.until(run)
    assert (run.result, run.deaths, action.done) == (Result.FIXED, 0, ["qa/first", "qa/second"])
    assert "taken_over" not in await daemon.entries(run)
    assert await controls(daemon, run.id) == [("anna", "pause", "done"), ("bruno", "resume", "done")]


async def test_pause_what_has_not_begun(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted(), environments=[])
    run = await daemon.people.pause((await daemon.ask(request())).id, "anna", via="cli")
    assert run.state is RunState.PAUSED
    daemon.engine.serve_environments(["qa"])
    other = await daemon.until(await daemon.ask(request("k2", parameters={"object": "other"})))
    assert other.result is Result.FIXED
    assert (await daemon.people.run(run.id)).run.state is RunState.PAUSED
    await daemon.people.resume(run.id, "anna", via="cli")
    assert (await daemon.until(run)).result is Result.FIXED


async def test_cancel_in_the_middle_of_a_step(make_daemon: MakeDaemon, world: TestWorld) -> None:
    gate = Gate()
    ended: list[str] = []

    async def hangs(job: Job) -> None:
        try:
            await gate(job)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    action = Scripted(second=hangs)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    assert (await daemon.people.cancel(run.id, "anna", via="cli", reason="wrong one")).state is RunState.RUNNING
    await daemon.people.pause(run.id, "bruno", via="cli")
    run = await daemon.until(run)
    assert (run.result, run.outcome) == (Result.CANCELLED, "cancelled by anna")
    assert (ended, action.done) == (["cancelled"], ["qa/first", "qa/cancelled"])
    assert (run.before, run.after) == ({"rows": 7}, {})
    assert (await daemon.entries(run))[-2:] == ["undo", "outcome cancelled"]
    assert world.told()[-1] == "cancelled"
    assert (await daemon.until(await daemon.ask(request("k2")), RunState.RUNNING)).id != run.id, "it keeps nobody out"
    gate.go.set()


async def test_cancel_while_it_is_planned(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(planning=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    await daemon.people.cancel(run.id, "anna", via="cli")
    run = await daemon.until(run)
    assert (run.result, run.begun_at, action.done) == (Result.CANCELLED, None, [])


@pytest.mark.parametrize("state", ["queued", "waiting", "paused"])
async def test_cancel_what_has_not_begun(make_daemon: MakeDaemon, world: TestWorld, state: str) -> None:
    action = Dangerous()
    daemon = await make_daemon(action, environments=["preprod"] if state == "waiting" else [])
    run = await daemon.ask(request(environment="preprod", action="dangerous"))
    if state == "waiting":
        await daemon.until(run, RunState.WAITING)
    if state == "paused":
        await daemon.people.pause(run.id, "anna", via="cli")
    run = await daemon.people.cancel(run.id, "anna", via="cli", reason="no need")
    assert (run.state, run.result, run.outcome) == (RunState.ENDED, Result.CANCELLED, "cancelled by anna: no need")
    assert world.told()[-1] == "cancelled"
    daemon.engine.serve_environments(["preprod"])
    await daemon.engine.sweep()
    assert (await daemon.until(await daemon.ask(request("k2", "preprod", "dangerous")), RunState.WAITING)).attempt == 1
    assert action.done == []


@pytest.mark.parametrize("how", ["paused", "retry"])
async def test_cancel_what_is_held_up_in_the_middle_undoes_it(make_daemon: MakeDaemon, how: str) -> None:
    gate, second = Gate(), Raises(ConnectError("no"))
    action = Scripted(first=gate, second=second)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    if how == "paused":
        await daemon.people.pause(run.id, "anna", via="cli")
    gate.go.set()
    await daemon.until(run, RunState.PAUSED if how == "paused" else RunState.QUEUED)
    await daemon.people.cancel(run.id, "anna", via="cli")
    run = await daemon.until(run)
    assert (run.result, run.outcome) == (Result.CANCELLED, "cancelled by anna")
    assert action.done == ["qa/first", "qa/cancelled"]


async def test_retry_makes_a_new_run_of_a_person(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted(first=Raises(ActionError("no"), 1))
    daemon = await make_daemon(action)
    world.firing = True
    run = await daemon.until(await daemon.ask(request(alert=ALERT, parameters={"size": 3})))
    assert run.result is Result.FAILED
    world.firing = False
    again = await daemon.people.retry(run.id, "anna", via="cli")
    assert again.new
    assert again.run.id != run.id
    found = await daemon.until(again.run)
    assert (found.result, found.source, found.requested_by, found.alert) == (Result.FIXED, Source.PERSON, "anna", None)
    assert (found.parameters, found.reason) == ({"size": 3}, f"again, as run {run.id}")
    assert (await daemon.people.run(run.id)).run.result is Result.FAILED
    assert await controls(daemon, run.id) == [("anna", "retry", "done")]


async def test_what_cannot_be_is_refused_and_on_record(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate))
    run = await daemon.ask(request())
    await gate.until_reached()
    people = daemon.people
    for act in (people.resume, people.retry):
        with pytest.raises(NotPossibleError, match=f"run {run.id} is running"):
            await act(run.id, "anna", via="cli")
    gate.go.set()
    run = await daemon.until(run)
    for act in (people.cancel, people.pause, people.resume):
        with pytest.raises(NotPossibleError, match=f"run {run.id} is ended"):
            await act(run.id, "anna", via="cli")
    assert await controls(daemon, run.id) == [
        ("anna", what, "refused") for what in ("resume", "retry", "cancel", "pause", "resume")
    ]
    assert (await people.run(run.id)).run == run


async def test_who_may_not_ask_may_not_control(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Scripted(), environments=[], operators={"anna": OperatorSettings(may=("approve",))})
    run = await daemon.ask(request())
    people = daemon.people
    for act in (people.cancel, people.pause, people.resume, people.retry):
        with pytest.raises(NotAllowedError, match="anna may not ask"):
            await act(run.id, "anna", via="cli")
    assert [decision for _, _, decision in await controls(daemon, run.id)] == ["refused"] * 4
    assert (await people.run(run.id)).run.state is RunState.QUEUED
    await until(lambda: daemon.engine.running() == [])
