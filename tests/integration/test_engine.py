"""The engine on a real state database: from a request to its outcome."""

from __future__ import annotations

import asyncpg
import pytest
from structlog.testing import capture_logs

from actions import Job, Verdict
from daemon.actions import Result
from fleet.errors import ActionError, ConnectError
from tests.integration.engines import ALERT, MakeDaemon, TestWorld, request
from tests.integration.scripted import Raises, Scripted

BEGUN = ["requested", "plan", "guard allowed", "step first begun", "step first finished", "step second begun"]
DONE = [*BEGUN, "step second finished"]


async def test_all_the_way(make_daemon: MakeDaemon, world: TestWorld) -> None:
    async def helps(_job: Job) -> None:
        world.firing = False

    action = Scripted(second=helps)
    daemon = await make_daemon(action)
    world.firing = True
    run = await daemon.until(await daemon.ask(request(alert=ALERT, reason="too old")))
    assert (run.result, run.outcome) == (Result.FIXED, "it is done")
    assert (run.before, run.after) == ({"rows": 7}, {"rows": 3})
    assert action.done == ["qa/first", "qa/second"]
    assert world.read == [("qa", ("tables",))]
    assert await daemon.entries(run) == [*DONE, "verdict True", "outcome fixed"]
    assert world.told() == ["requested", "planned", "begun", "first done", "second done", "fixed"]
    begun, ended = world.events[2].run, world.events[-1]
    assert begun.begun_at is not None
    assert run.ended_at is not None
    assert run.requested_at <= begun.begun_at <= run.ended_at
    assert ended.figures["seconds"] == pytest.approx(run.ended_at - begun.begun_at, abs=0.1)
    assert (run.owner, run.asked, run.ground, run.attempt, run.deaths) == (None, None, None, 1, 0)
    steps = (await daemon.people.run(run.id)).steps
    assert [(step.number, step.name, step.tries, step.figures, step.error) for step in steps] == [
        (1, "first", 1, {"rows": 1}, None),
        (2, "second", 1, {}, None),
    ]


async def test_it_is_not_fixed_while_the_alert_fires(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted()
    daemon = await make_daemon(action)
    world.firing = True
    run = await daemon.until(await daemon.ask(request(alert=ALERT)))
    assert (run.result, run.outcome) == (Result.NOT_FIXED, "it is done; but TooOld is still firing")
    assert (run.before, run.after) == ({"rows": 7}, {"rows": 3})
    assert await daemon.entries(run) == [*DONE, "verdict False", "outcome not_fixed"]
    assert world.told()[-1] == "not fixed"
    assert action.done == ["qa/first", "qa/second"]


async def test_the_action_itself_may_say_that_it_did_not_help(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted(verdict=Verdict(False, "it grew again", {"rows": 8}))
    daemon = await make_daemon(action)
    run = await daemon.until(await daemon.ask(request()))
    assert (run.result, run.outcome, run.after) == (Result.NOT_FIXED, "it grew again", {"rows": 8})
    assert world.read == [("qa", ("tables",))]


@pytest.mark.parametrize(
    "error", [ConnectError("no way there"), asyncpg.QueryCanceledError("x"), RuntimeError("a bug")]
)
async def test_what_cannot_be_verified_is_not_fixed_and_stays_done(make_daemon: MakeDaemon, error: Exception) -> None:
    action = Scripted(verdict=error)
    daemon = await make_daemon(action)
    with capture_logs() as logs:  # one of structlog's own tracebacks takes many seconds
        run = await daemon.until(await daemon.ask(request()))
    # what may pass is looked at twice more
    assert [entry["event"] for entry in logs] == (
        ["verify_broke"] if isinstance(error, RuntimeError) else ["verify_tried_again"] * 2
    )
    assert (run.result, run.outcome) == (Result.NOT_FIXED, f"whether it helped is unknown: {error}")
    assert action.done == ["qa/first", "qa/second"]


async def test_a_world_that_cannot_be_read_again_leaves_it_open(make_daemon: MakeDaemon, world: TestWorld) -> None:
    world.refuse_reread = ConnectError("no way there")
    daemon = await make_daemon(Scripted())
    run = await daemon.until(await daemon.ask(request()))
    assert (run.result, run.outcome) == (Result.NOT_FIXED, "whether it helped is unknown: no way there")


async def test_a_plan_without_steps_does_nothing(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Scripted(planned=())
    daemon = await make_daemon(action)
    run = await daemon.until(await daemon.ask(request()))
    assert (run.result, run.outcome) == (Result.FIXED, "nothing had to be done: work of size 1 on qa")
    assert (run.begun_at, run.after, action.done) == (None, {"rows": 7}, [])
    assert world.read == [("qa", ("tables",))]
    world.firing = True
    again = await daemon.until(await daemon.ask(request("k2", alert=ALERT)))
    assert (again.result, action.done) == (Result.NOT_FIXED, [])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ActionError("it cannot be done", hint="do it by hand"), "it cannot be done (do it by hand)"),
        (RuntimeError("a bug: password=geheim"), "a bug: password=***"),
        (KeyError(), "KeyError"),
    ],
)
async def test_what_cannot_be_planned_fails_and_changes_nothing(
    make_daemon: MakeDaemon, world: TestWorld, error: Exception, said: str
) -> None:
    action = Scripted(planning=Raises(error))
    daemon = await make_daemon(action)
    with capture_logs():
        run = await daemon.until(await daemon.ask(request()))
    assert (run.result, run.outcome, run.begun_at, action.done) == (Result.FAILED, said, None, [])
    assert await daemon.entries(run) == ["requested", "outcome failed"]
    assert world.told() == ["requested", "failed"]
