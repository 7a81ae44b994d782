"""Approvals: who may, how many, for how long, of which plan; and every answer is on record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from daemon.actions import Result, RunState, Source, runs
from daemon.actions.means import Disk
from daemon.actions.port import NotAllowedError, NotPossibleError, UnknownRunError
from daemon.actions.views import Answer, LedgerFilter, Run
from daemon.config import OperatorSettings
from fleet.errors import ActionError
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, request
from tests.integration.scripted import SOON, Dangerous, Destructive

# preprod asks for one approval of what is dangerous, for two of what is destructive
ONE = {"environment": "preprod", "action": "dangerous"}
TWO = {"environment": "preprod", "action": "destructive"}


@dataclass
class Said:
    """What a person says to a run, and what came of it."""

    daemon: Daemon
    run: Run

    async def __call__(self, person: str, approved: bool = True, **more: Any) -> Run:
        return await self.daemon.people.answer(self.run.id, person, approved=approved, via="cli", **more)

    async def refused(self, person: str, kind: type[ActionError], match: str, *, digest: str | None = None) -> None:
        with pytest.raises(kind, match=match):
            await self(person, digest=digest)

    async def answers(self) -> list[tuple[str | None, bool, str]]:
        """Who said what and whether it counted, as the ledger has it."""
        entries = await self.daemon.people.entries(LedgerFilter(run_id=self.run.id, entry="answer"))
        return [(each.person, each.facts["approved"], each.facts["decision"]) for each in reversed(entries)]


async def asked(daemon: Daemon, key: str = "k1", **fields: str) -> Said:
    run = await daemon.until(await daemon.ask(request(key, **fields)), RunState.WAITING)
    return Said(daemon, run)


async def test_one_approval_is_enough_and_may_be_one_s_own(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Dangerous()
    daemon = await make_daemon(action)
    say = await asked(daemon, **ONE, by="anna")
    assert (say.run.approvals_needed, say.run.owner, action.done) == (1, None, [])
    assert say.run.plan is not None
    assert await daemon.entries(say.run) == ["requested", "plan", "asked"]
    assert world.told() == ["requested", "planned", "waits for an approval"]
    await say("anna", reason="go")
    run = await daemon.until(say.run)
    assert (run.result, action.done) == (Result.FIXED, ["preprod/first", "preprod/second"])
    assert (await daemon.entries(run))[3:5] == ["answer counted True", "guard allowed"]
    (answer,) = (await daemon.people.run(run.id)).answers
    assert (answer.person, answer.reason, answer.via, answer.digest) == ("anna", "go", "cli", run.digest)


async def test_one_s_own_approval_may_be_not_enough(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Dangerous(), self_approval=False)
    say = await asked(daemon, **ONE, by="anna")
    await say.refused("anna", NotAllowedError, "another person must approve")
    await say("bruno")
    assert (await daemon.until(say.run)).result is Result.FIXED
    assert await say.answers() == [("anna", True, "refused"), ("bruno", True, "counted")]


async def test_who_sent_the_alert_is_who_asked(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Dangerous(), Destructive(), self_approval=False)
    say = await asked(daemon, **ONE, sender="anna", requested_by="alert Grew of anna")
    assert (say.run.source, say.run.sender) == (Source.ALERT, "anna")
    await say.refused("anna", NotAllowedError, "anna asked for this, and another person must approve it")
    await say("bruno")
    assert (await daemon.until(say.run)).result is Result.FIXED
    (entry,) = await daemon.people.entries(LedgerFilter(run_id=say.run.id, entry="requested"))
    assert (entry.person, entry.facts["source"]) == ("anna", "alert")
    say = await asked(daemon, "k2", **TWO, sender="anna", requested_by="alert Grew of anna")
    await say.refused("anna", NotAllowedError, "two other people must approve")
    assert (await say("bruno")).state is RunState.WAITING
    await say("carla")
    assert (await daemon.until(say.run)).result is Result.FIXED


async def test_an_answer_of_who_sent_the_alert_does_not_count_wherever_it_comes_from(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Destructive())
    say = await asked(daemon, **TWO, sender="anna", requested_by="alert Grew of anna")
    async with daemon.state.begin() as connection:
        answer = Answer("anna", True, "", "sql", daemon.world.now(), say.run.digest or "")
        await runs.add_answer(connection, say.run.id, answer)
    assert (await say("bruno")).state is RunState.WAITING
    async with daemon.state.begin() as connection:
        await daemon.engine.queue.put(connection, say.run.id, say.run.environment)
    await daemon.engine.sweep()
    assert (await daemon.people.run(say.run.id)).run.begun_at is None
    await say("carla")
    assert (await daemon.until(say.run)).result is Result.FIXED


async def test_a_retry_is_of_who_retries(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Dangerous(), self_approval=False)
    say = await asked(daemon, **ONE, sender="anna", requested_by="alert Grew of anna")
    await say("bruno", approved=False)
    again = (await daemon.people.retry(say.run.id, "anna", via="cli")).run
    say = Said(daemon, await daemon.until(again, RunState.WAITING))
    await say.refused("anna", NotAllowedError, "another person must approve")


async def test_two_are_two_others(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Destructive())
    say = await asked(daemon, **TWO, by="anna")
    assert world.told()[-1] == "waits for two approvals"
    await say.refused("anna", NotAllowedError, "two other people must approve")
    assert (await say("bruno")).state is RunState.WAITING
    await say.refused("bruno", NotPossibleError, "has answered before")
    await daemon.engine.sweep()
    assert (await daemon.people.run(say.run.id)).run.state is RunState.WAITING
    await say("carla")
    assert (await daemon.until(say.run)).result is Result.FIXED
    assert await say.answers() == [
        ("anna", True, "refused"),
        ("bruno", True, "counted"),
        ("bruno", True, "refused"),
        ("carla", True, "counted"),
    ]


async def test_one_no_is_enough_also_of_who_asked(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Destructive()
    daemon = await make_daemon(action)
    for key, person in (("k1", "carla"), ("k2", "anna")):
        say = await asked(daemon, key, **TWO, by="anna")
        await say("bruno")
        run = await say(person, approved=False, reason="not now, password=geheim\0")
        assert (run.state, run.result) == (RunState.ENDED, Result.REFUSED)
        assert run.outcome == f"rejected by {person}: not now, password=***"
        assert (await daemon.people.run(run.id)).answers[1].reason == "not now, password=***"
        await say.refused("carla", NotPossibleError, "does not wait for an answer: it is ended")
        assert (await say.answers())[-1] == ("carla", True, "refused")
    assert action.done == []
    assert world.told()[-1] == "refused"


async def test_nobody_answers_in_time(make_daemon: MakeDaemon, world: TestWorld) -> None:
    daemon = await make_daemon(Dangerous(), approval_expires=timedelta(days=2))
    say = await asked(daemon, **ONE)
    assert say.run.expires_at == pytest.approx(world.now() + 2 * 86400, abs=20)
    await daemon.later(2 * 86400 - 60)
    assert (await daemon.people.run(say.run.id)).run.state is RunState.WAITING
    world.shift += 90
    await say.refused("bruno", NotPossibleError, "was not answered in time")
    await daemon.engine.sweep()
    run = await daemon.until(say.run)
    assert (run.result, run.outcome) == (Result.REFUSED, "nobody answered in time")
    assert world.told()[-1] == "refused"
    assert (await daemon.entries(run))[-1] == "outcome refused"


async def test_an_answer_is_to_the_plan_that_was_seen(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Destructive()
    daemon = await make_daemon(action)
    say = await asked(daemon, **TWO)
    await say.refused("bruno", NotPossibleError, "the plan has changed", digest="another")
    await say("bruno", digest=say.run.digest or "")
    action.objects = ({"relname": "documents"},)
    await say("carla")
    await asyncio.wait_for(_planned_again(daemon, say.run), SOON)
    run = (await daemon.people.run(say.run.id)).run
    assert run.digest != say.run.digest
    assert (run.expires_at or 0) > (say.run.expires_at or 0), "another question, with all the time"
    assert action.done == []
    assert world.told().count("waits for two approvals") == 2
    await say.refused("bruno", NotPossibleError, "the plan has changed", digest=say.run.digest or "")
    assert (await say("bruno")).state is RunState.WAITING, "what was said to the old plan does not count"
    await say("anna")
    assert (await daemon.until(run)).result is Result.FIXED
    assert (await daemon.entries(run)).count("asked") == 2


async def _planned_again(daemon: Daemon, run: Run) -> None:
    while True:
        found = (await daemon.people.run(run.id)).run
        if found.digest != run.digest and found.state is RunState.WAITING:
            return
        await asyncio.sleep(0.01)


async def test_the_room_that_it_takes_is_no_other_plan(make_daemon: MakeDaemon, world: TestWorld) -> None:
    action = Dangerous()
    daemon = await make_daemon(action)
    say = await asked(daemon, **ONE)
    action.needs = 1.0
    world.disks["preprod"] = Disk(9e9, 10e9)
    await say("bruno")
    assert (await daemon.until(say.run)).result is Result.FIXED


async def test_of_two_answers_in_one_moment_one_counts(make_daemon: MakeDaemon) -> None:
    one = await make_daemon(Dangerous())
    two = await make_daemon(Dangerous(), environments=[])
    say = await asked(one, **ONE)
    both = await asyncio.gather(say("bruno"), Said(two, say.run)("carla", approved=False), return_exceptions=True)
    (lost,) = [each for each in both if isinstance(each, BaseException)]
    assert isinstance(lost, NotPossibleError)
    run = await one.until(say.run)
    assert run.result is (Result.FIXED if lost is both[1] else Result.REFUSED)
    assert len((await one.people.run(run.id)).answers) == 1
    assert sorted(decision for _, _, decision in await say.answers()) == ["counted", "refused"]


async def test_a_question_outlives_the_daemon(make_daemon: MakeDaemon) -> None:
    action = Destructive()
    daemon = await make_daemon(action)
    say = await asked(daemon, **TWO)
    await say("bruno")
    await daemon.stop()
    daemon = await make_daemon(action)
    await daemon.later(86400)
    assert (await daemon.people.run(say.run.id)).run.state is RunState.WAITING
    await Said(daemon, say.run)("carla")
    run = await daemon.until(say.run)
    assert (run.result, run.deaths, action.done) == (Result.FIXED, 0, ["preprod/first", "preprod/second"])
    assert (await daemon.entries(run)).count("asked") == 1


async def test_who_may_not_approve(make_daemon: MakeDaemon) -> None:
    operators = {
        "anna": OperatorSettings(may=("request",)),
        "bruno": OperatorSettings(environments=("qa",)),
        "carla": OperatorSettings(actions=("dangerous",)),
    }
    daemon = await make_daemon(Dangerous(), operators=operators)
    say = await asked(daemon, **ONE)
    await say.refused("anna", NotAllowedError, "anna may not approve")
    await say.refused("bruno", NotAllowedError, "not for preprod")
    await say.refused("dario", NotAllowedError, "dario is no operator")
    assert await say.answers() == [(person, True, "refused") for person in ("anna", "bruno", "dario")]
    assert (await daemon.people.run(say.run.id)).answers == ()
    await say("carla")
    assert (await daemon.until(say.run)).result is Result.FIXED


async def test_what_nobody_knows_cannot_be_answered(make_daemon: MakeDaemon) -> None:
    daemon = await make_daemon(Dangerous())
    for run_id in ("", "x", "%", "_"):
        with pytest.raises(UnknownRunError, match="there is no such run"):
            await daemon.people.answer(run_id, "anna", approved=True, via="cli")
