"""What people say and what others wait for counts in whatever moment it comes, not only when somebody looks again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from actions import Job
from daemon.actions import Result, RunState, Source
from daemon.actions.views import Run
from tests.integration.engines import ALERT, Daemon, MakeDaemon, TestWorld, request, until
from tests.integration.scripted import Dangerous, Gate, Raises, Scripted

pytestmark = pytest.mark.usefixtures("hardly_sweeps", "never_again", "no_pulse")
PREPROD = {"environment": "preprod", "action": "dangerous"}


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.actions.stages._apply.FIRST_BACKOFF", 3600.0)
    monkeypatch.setattr("daemon.actions.stages._apply.LONGEST_BACKOFF", 3600.0)


@pytest.fixture
def no_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.actions.work.PULSE_SECONDS", 3600.0)


class Slow(Gate):
    """A gate behind which the step fails, so that it may be tried again."""

    async def __call__(self, job: Job) -> None:
        await super().__call__(job)
        raise TimeoutError("slow")


async def parked(daemon: Daemon, run: Run, ground: str) -> Run:
    async def waits() -> bool:
        found = (await daemon.people.run(run.id)).run
        return found.state is RunState.QUEUED and found.ground == ground

    await until(waits)
    return (await daemon.people.run(run.id)).run


async def calls(daemon: Daemon, status: str) -> int:
    return len(await daemon.sql("select from pgqueuer where status::text = $1 and execute_after <= now()", status))


@pytest.mark.parametrize("kind", [Scripted, Dangerous])
async def test_cancelled_while_planned_it_neither_begins_nor_asks(
    make_daemon: MakeDaemon, world: TestWorld, kind: type[Scripted]
) -> None:
    gate = Gate()
    action = kind(planning=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request(environment="preprod", action=action.name))
    await gate.until_reached()
    await daemon.people.cancel(run.id, "anna", via="cli")
    gate.go.set()
    run = await daemon.until(run)
    assert (run.result, run.outcome, run.begun_at) == (Result.CANCELLED, "cancelled by anna", None)
    assert action.done == []
    assert not [told for told in world.told() if told.startswith("waits for")]


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_in_a_step_it_neither_begins_another_nor_tries_again(
    make_daemon: MakeDaemon, fails: bool
) -> None:
    gate = Slow() if fails else Gate()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    await daemon.people.cancel(run.id, "anna", via="cli")
    gate.go.set()
    assert (await daemon.until(run)).result is Result.CANCELLED
    assert action.done == ["qa/cancelled"] if fails else ["qa/first", "qa/cancelled"]


async def test_a_pause_that_a_failure_overtook_is_over_once_it_is_resumed(make_daemon: MakeDaemon) -> None:
    gate = Slow()
    action = Scripted(first=gate)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await gate.until_reached()
    await daemon.people.pause(run.id, "anna", via="cli")
    gate.go.set()
    await parked(daemon, run, "retry")
    await daemon.people.pause(run.id, "anna", via="cli")

    async def pass_by(_job: Job) -> None: ...

    action.first = pass_by
    await daemon.people.resume(run.id, "bruno", via="cli")
    assert (await daemon.until(run, RunState.ENDED, RunState.PAUSED)).result is Result.FIXED


@pytest.mark.parametrize("resumed", [True, False])
async def test_a_call_that_was_lost_is_made_again_by_the_sweep(make_daemon: MakeDaemon, resumed: bool) -> None:
    daemon = await make_daemon(Scripted(), environments=[])
    run = await daemon.ask(request())
    if resumed:
        await daemon.people.pause(run.id, "anna", via="cli")
        await daemon.people.resume(run.id, "anna", via="cli")
    await daemon.sql("delete from pgqueuer")
    daemon.engine.serve_environments(["qa"])
    assert (await daemon.until(run)).result is Result.FIXED


@pytest.mark.parametrize("how", ["paused", "retry"])
async def test_what_gives_up_its_place_calls_who_waits_for_it(make_daemon: MakeDaemon, how: str) -> None:
    gate = Gate() if how == "paused" else Slow()
    daemon = await make_daemon(Scripted(first=gate), Dangerous(), at_once_environment=1)
    run = await daemon.ask(request())
    await gate.until_reached()
    other = await daemon.ask(request("k2", action="dangerous"))
    await parked(daemon, other, "environment_busy")
    if how == "paused":
        await daemon.people.pause(run.id, "anna", via="cli")
    gate.go.set()
    assert (await daemon.until(other)).result is Result.FIXED


async def test_two_that_wait_for_a_third_do_not_call_each_other(make_daemon: MakeDaemon) -> None:
    gate, slow = Gate(), Raises(TimeoutError("slow"), 2)
    limits: dict[str, Any] = {"at_once_environment": 1, "continue_within": timedelta(days=1)}
    daemon = await make_daemon(Scripted(first=slow), Dangerous(first=gate), **limits)
    waiting = []
    for name in ("one", "other"):
        waiting.append(await daemon.ask(request(name, parameters={"object": name})))
        await parked(daemon, waiting[-1], "retry")
    third = await daemon.ask(request("third", action="dangerous"))
    await gate.until_reached()
    for run in waiting:
        await daemon.later(4000)  # a sweep calls one for each ground
        await parked(daemon, run, "environment_busy")

    async def quiet() -> bool:
        return await calls(daemon, "queued") == 0 and await calls(daemon, "picked") == 1

    await until(quiet)
    gate.go.set()
    for run in (third, *waiting):
        assert (await daemon.until(run)).result is Result.FIXED


async def test_a_second_call_begins_nothing_on_what_was_given_away(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate))
    run = await daemon.ask(request())
    await gate.until_reached()
    async with daemon.state.begin() as connection:
        await daemon.engine.queue.put(connection, run.id, "qa")

    async def both() -> bool:
        return await calls(daemon, "picked") == 2

    async def none() -> bool:
        return await calls(daemon, "picked") == 0

    await until(both)
    daemon.engine.serve_environments([])
    await daemon.engine.left()
    await until(none)
    found = (await daemon.people.run(run.id)).run
    assert (found.state, found.attempt, found.deaths) == (RunState.QUEUED, 1, 0)


@pytest.mark.parametrize("how", ["rejected", "cancelled"])
async def test_the_no_of_a_person_who_was_asked_counts_for_a_while(
    make_daemon: MakeDaemon, world: TestWorld, how: str
) -> None:
    world.firing = True
    daemon = await make_daemon(Dangerous(), approval_expires=timedelta(days=1))
    asked = request(source=Source.ALERT, alert=ALERT | {"environment": "preprod"}, **PREPROD)
    run = await daemon.until(await daemon.ask(asked), RunState.WAITING)
    if how == "rejected":
        await daemon.people.answer(run.id, "anna", approved=False, via="cli")
    else:
        await daemon.people.cancel(run.id, "anna", via="cli")
    again = await daemon.people.submit(asked)
    assert (again.new, again.run.id) == (False, run.id)
    assert again.note.startswith("anna said no to it")
    retried = await daemon.people.retry(run.id, "bruno", via="cli")
    assert retried.new, "people may"
    await daemon.until(retried.run, RunState.WAITING)
    await daemon.people.cancel(retried.run.id, "bruno", via="cli")
    world.shift += 86_401
    assert (await daemon.people.submit(asked)).new


async def test_who_cancels_what_needs_no_approval_has_not_said_no_to_the_next(
    make_daemon: MakeDaemon, world: TestWorld
) -> None:
    """Such as a backup in a bad moment."""
    world.firing = True
    gate = Gate()
    daemon = await make_daemon(Scripted(first=gate))
    asked = request(source=Source.ALERT, alert=ALERT)
    run = await daemon.ask(asked)
    await gate.until_reached()
    await daemon.people.cancel(run.id, "anna", via="cli")
    gate.go.set()
    assert (await daemon.until(run)).result is Result.CANCELLED
    assert (await daemon.people.submit(asked)).new


async def test_what_is_approved_is_planned_anew_only_when_it_may_begin(make_daemon: MakeDaemon) -> None:
    gate, plans = Gate(), list[int]()

    async def planning(job: Job) -> None:
        plans.append(job.attempt)

    daemon = await make_daemon(Scripted(first=gate), Dangerous(planning=planning), at_once_environment=1)
    first = await daemon.ask(request("k0", "preprod"))
    await gate.until_reached()
    run = await daemon.until(await daemon.ask(request(**PREPROD)), RunState.WAITING)
    await daemon.people.answer(run.id, "anna", approved=True, via="cli")
    for attempt in (2, 3, 4):
        await parked(daemon, run, "environment_busy")
        await daemon.engine.sweep()

        async def looked_again(attempt: int = attempt) -> bool:
            return (await daemon.people.run(run.id)).run.attempt > attempt

        await until(looked_again)
    assert plans == [1]
    gate.go.set()
    for each in (first, run):
        assert (await daemon.until(each)).result is Result.FIXED
    assert len(plans) == 2
