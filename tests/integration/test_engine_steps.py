"""Steps: tried again, timed out, undone; what they may change and what they remember."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import asyncpg
import pytest
from structlog.testing import capture_logs

from actions import Job, Verdict
from daemon.actions import Result, Run, RunState
from daemon.actions.views import StepView
from fleet.errors import ActionError, ConnectError
from tests.integration import engines
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, request
from tests.integration.explained import explained
from tests.integration.scripted import Gate, Raises, Scripted

BEGUN = """
    select at from ledger where entry = 'step' and facts @> '{"name": "second", "state": "begun"}' order by id
"""
LOST = asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


async def until(daemon: Daemon, run: Run, true: Callable[[], bool | Awaitable[bool]]) -> None:
    async with explained(daemon, run.id):
        await engines.until(true)


async def come_to(daemon: Daemon, run: Run, *states: RunState) -> Run:
    """The run once it is in one of these states, else at its end."""
    async with explained(daemon, run.id):
        return await daemon.until(run, *states)


async def step(daemon: Daemon, run_id: str, number: int) -> StepView:
    return (await daemon.people.run(run_id)).steps[number - 1]


@pytest.mark.parametrize("error", [ConnectError("no way"), LOST, asyncpg.DeadlockDetectedError("x"), TimeoutError()])
async def test_what_may_pass_is_tried_again_after_a_wait(make_daemon: MakeDaemon, error: Exception) -> None:
    second = Raises(error, 1)
    action = Scripted(second=second)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    await until(daemon, run, lambda: second.called == 1)
    run = await come_to(daemon, run, RunState.QUEUED)
    assert run.ground == "retry"
    assert "try 2 of 3 in 5 s" in (run.parked or "")
    assert run.not_before == pytest.approx(daemon.world.now() + 5, abs=3)
    await daemon.engine.sweep()
    assert second.called == 1, "not before its time"
    await daemon.later(6)
    run = await come_to(daemon, run)
    assert (run.result, run.attempt, run.deaths) == (Result.FIXED, 2, 0)
    assert action.done == ["qa/first", "qa/second"], "what was done is not done again"
    found = await step(daemon, run.id, 2)
    assert (found.tries, found.attempt, found.error) == (2, 2, None)
    entries = await daemon.entries(run)
    assert [each for each in entries if "second" in each] == [
        "step second begun",
        "step second failed",
        "step second begun",
        "step second finished",
    ]
    assert "taken_over" not in entries, "nobody had it"
    assert daemon.world.told().count("waits") == 1


async def test_in_the_end_it_has_failed_and_is_undone(make_daemon: MakeDaemon, world: TestWorld) -> None:
    second = Raises(ConnectError("no way there"))
    action = Scripted(second=second, tries=3)
    daemon = await make_daemon(action)
    run = await daemon.ask(request())
    for wait in (5, 10):

        def told(words: str = f"in {wait} s") -> bool:
            return any(words in event.text for event in world.events)

        await until(daemon, run, told)
        await daemon.later(wait + 1)
    run = await come_to(daemon, run)
    assert (run.result, run.outcome) == (Result.FAILED, "second: no way there")
    assert (run.before, run.after) == ({"rows": 7}, {})
    assert (second.called, action.done) == (3, ["qa/first", "qa/undone"])
    found = await step(daemon, run.id, 2)
    assert (found.tries, found.error, found.finished_at) == (3, "no way there", None)
    assert (await daemon.entries(run))[-3:] == ["step second failed", "undo", "outcome failed"]
    begun = [row["at"].timestamp() for row in await daemon.sql(BEGUN)]
    waited = [after - before for before, after in pairwise(begun)]
    assert [seconds >= least for seconds, least in zip(waited, (5, 10), strict=True)] == [True, True], waited
    assert world.told()[-1] == "failed"
    assert world.read == [], "what failed is not verified"


async def test_a_call_that_comes_twice_shortens_no_wait(
    make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.actions.stages._apply.FIRST_BACKOFF", 60.0)
    gate, second = Gate(), Raises(LOST, 1)

    async def fails(job: Job) -> None:
        await gate(job)
        await second(job)

    daemon = await make_daemon(Scripted(second=fails))
    run = await daemon.ask(request())

    async def all_picked() -> bool:
        return not await daemon.sql("select from pgqueuer where status = 'queued'")

    async def all_done() -> bool:
        return not await daemon.sql("select from pgqueuer where execute_after < now()")

    await until(daemon, run, gate.reached.is_set)
    async with daemon.state.begin() as connection:  # as a sweep does that has seen the run a moment earlier
        await daemon.engine.queue.put(connection, run.id, run.environment)
    await until(daemon, run, all_picked)
    gate.go.set()
    await until(daemon, run, all_done)
    run = (await daemon.people.run(run.id)).run
    assert (run.state, run.attempt, second.called) == (RunState.QUEUED, 1, 1)
    assert "try 2 of 3 in 60 s" in (run.parked or "")
    await daemon.later(61)
    run = await come_to(daemon, run)
    assert (run.result, run.attempt, second.called) == (Result.FIXED, 2, 2)


async def test_a_run_that_does_not_come_so_far_is_explained(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(second=gate))
    run = await daemon.ask(request())
    await until(daemon, run, gate.reached.is_set)
    with pytest.raises(TimeoutError) as caught:
        async with explained(daemon, run.id):
            await daemon.until(run, seconds=0)
    (said,) = caught.value.__notes__
    assert f"run {run.id}: running, attempt 1 of daemon0, step second, deaths 0" in said
    assert "step second: tries 1, attempt 1, error None" in said
    assert "begun 'work of size 1 on qa'" in said
    assert "'status': 'picked'" in said
    assert "ledger: step second begun" in said
    gate.go.set()
    assert (await come_to(daemon, run)).result is Result.FIXED


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ActionError("it is gone", hint="look"), "first: it is gone (look)"),
        (asyncpg.UndefinedTableError("no such table"), "first: no such table"),
        (RuntimeError("password=geheim"), "first: password=***"),
    ],
)
async def test_what_does_not_pass_is_not_tried_again(make_daemon: MakeDaemon, error: Exception, said: str) -> None:
    first = Raises(error)
    action = Scripted(first=first)
    daemon = await make_daemon(action)
    with capture_logs() as logs:
        run = await come_to(daemon, await daemon.ask(request()))
    assert (run.result, run.outcome, first.called) == (Result.FAILED, said, 1)
    assert action.done == ["qa/undone"]
    assert [each["event"] for each in logs] == (["step_broke"] if isinstance(error, RuntimeError) else [])


async def test_a_step_that_takes_too_long_is_ended(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    action = Scripted(first=gate, timeout=timedelta(milliseconds=50), tries=1)
    daemon = await make_daemon(action)
    run = await come_to(daemon, await daemon.ask(request()))
    assert (run.result, run.outcome) == (Result.FAILED, "first: it was not finished in time")
    assert action.done == ["qa/undone"]


@pytest.mark.parametrize("error", [ActionError("stuck"), RuntimeError("a bug")])
async def test_an_undo_that_fails_is_on_record(make_daemon: MakeDaemon, error: Exception) -> None:
    daemon = await make_daemon(Scripted(first=Raises(ActionError("no")), undoing=Raises(error)))
    with capture_logs():
        run = await come_to(daemon, await daemon.ask(request()))
    assert (run.result, run.outcome) == (Result.FAILED, "first: no")
    (entry,) = await daemon.sql("select facts ->> 'error' as error from ledger where entry = 'undo'")
    assert entry["error"] == str(error)


async def test_what_steps_leave_survives_a_parking_and_is_cleaned(make_daemon: MakeDaemon) -> None:
    async def leaves(job: Job) -> None:
        job.data.update({"names": ("a", "b"), "odd": float("nan"), "zero": "a\0b", "token": "geheim"})

    seen: list[dict[str, object]] = []

    async def looks(job: Job) -> None:
        seen.append(dict(job.data))
        if len(seen) == 1:
            raise LOST

    daemon = await make_daemon(Scripted(first=leaves, second=looks))
    run = await daemon.ask(request(parameters={"size": 4}))
    await until(daemon, run, lambda: len(seen) == 1)
    await come_to(daemon, run, RunState.QUEUED)
    await daemon.later(6)
    assert (await come_to(daemon, run)).result is Result.FIXED
    assert seen[1] == {"found": 4, "names": ["a", "b"], "odd": "nan", "zero": "ab", "token": "***"}


async def test_only_a_step_and_what_undoes_it_may_change_anything(make_daemon: MakeDaemon) -> None:
    said: list[str] = []

    async def tries(job: Job) -> None:
        try:
            async with job.changes.acquire() as connection:
                said.append(str(await connection.fetchval("show default_transaction_read_only")))
        except ActionError as error:
            said.append(error.message)

    class Curious(Scripted):
        async def verify(self, job: Job, *_: object) -> Verdict:
            await tries(job)
            return Verdict(True, "good")

    async def fails(job: Job) -> None:
        await tries(job)
        raise ActionError("no")

    refused = "nothing may be changed now: only a step may, and what undoes it"
    action = Curious(planning=tries, first=tries, second=tries)
    daemon = await make_daemon(action)
    assert (await come_to(daemon, await daemon.ask(request()))).result is Result.FIXED
    assert said == [refused, "off", "off", refused], "also where a step has left a session open"
    said.clear()
    action.second, action.undoing = fails, tries
    assert (await come_to(daemon, await daemon.ask(request("k2")))).result is Result.FAILED
    assert said == [refused, "off", "off", "off"]


async def test_no_session_of_a_run_stays_open(make_daemon: MakeDaemon, world: TestWorld) -> None:
    names: list[str] = []

    async def opens(job: Job) -> None:
        async with job.changes.acquire() as connection:
            names.append(str(await connection.fetchval("show application_name")))

    daemon = await make_daemon(Scripted(second=opens))
    run = await come_to(daemon, await daemon.ask(request()))
    assert names == [f"custode/{run.id}/1"]

    async def none() -> bool:
        return not await daemon.sql("select from pg_stat_activity where application_name = $1", names[0])

    await until(daemon, run, none)


async def test_progress_is_seen_while_it_runs(make_daemon: MakeDaemon) -> None:
    gate = Gate()
    daemon = await make_daemon(Scripted(second=gate))
    run = await daemon.ask(request())
    await until(daemon, run, gate.reached.is_set)

    async def progress() -> bool:
        found = (await daemon.people.run(run.id)).run
        return found.step == "second" and found.progress is not None and found.progress.ratio == 0.5

    await until(daemon, run, progress)
    found = (await daemon.people.run(run.id)).run.progress
    assert found is not None
    assert found.doing == "half of it"
    assert found.left_seconds is not None
    gate.go.set()
    run = await come_to(daemon, run)
    assert run.progress is None
