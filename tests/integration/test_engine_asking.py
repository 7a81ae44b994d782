"""A run asks for another one: once, under its own guard, and no more than whoever asked for it may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from actions import Job
from actions.cleanup import Cleanup
from actions.relieve_disk import RelieveDisk
from daemon.actions import Result, RunState, Source
from daemon.actions.views import RunFilter
from daemon.config import OperatorSettings
from fleet.environment import Environment
from fleet.errors import ActionError, ConnectError
from fleet.policy import TIER_DEFAULTS, Risk, Tier
from tests.integration.cleanup_trouble import SCHEMA, with_retention
from tests.integration.engines import Daemon, MakeDaemon, TestWorld, request
from tests.integration.scripted import Dangerous, Gate, Guarded, Raises, Scripted

MakeEnvironment = Callable[..., Environment]


class Asks:
    """In its step; what came of each time."""

    def __init__(self, action: str = "guarded", size: int = 5) -> None:
        self.action, self.size = action, size
        self.said: list[str] = []

    async def __call__(self, job: Job) -> None:
        assert job.ask is not None
        try:
            self.said.append(await job.ask(self.action, {"size": self.size}, "it is needed"))
        except ActionError as error:
            self.said.append(error.message)


async def asked_by(daemon: Daemon, action: str) -> list[str]:
    return [run.id for run in await daemon.people.runs(RunFilter(action=action))]


async def test_it_is_a_run_of_its_own(make_daemon: MakeDaemon) -> None:
    asks, guarded = Asks(), Guarded()
    daemon = await make_daemon(Scripted(first=asks), guarded)
    parent = await daemon.until(await daemon.ask(request(reason="disk")))
    child = await daemon.until(asks.said[0])
    assert (parent.result, child.result) == (Result.FIXED, Result.FIXED)
    assert (child.source, child.requested_by) == (Source.RUN, f"run {parent.id}")
    assert child.reason == f"it is needed (scripted, run {parent.id})"
    assert child.parameters == {"size": 5}
    assert child.alert is None, "it is judged by what it does, not by the alert"
    assert guarded.done == ["qa/first", "qa/second"]


async def test_a_step_that_is_done_again_asks_once(make_daemon: MakeDaemon) -> None:
    asks, fails = Asks(), Raises(ConnectError("no way"), 1)

    async def first(job: Job) -> None:
        await asks(job)
        await fails(job)

    daemon = await make_daemon(Scripted(first=first), Guarded())
    run = await daemon.ask(request())
    await daemon.until(run, RunState.QUEUED)
    await daemon.later(6)
    await daemon.until(run)
    assert len(asks.said) == 2
    assert await asked_by(daemon, "guarded") == [asks.said[0]] == [asks.said[1]]


async def test_people_decide_on_it_where_the_policy_asks_them(make_daemon: MakeDaemon) -> None:
    asks = Asks("dangerous")
    daemon = await make_daemon(Scripted(first=asks), Dangerous())
    parent = await daemon.until(await daemon.ask(request(environment="preprod")))
    assert parent.result is Result.FIXED, "it does not wait for them"
    child = await daemon.until(asks.said[0], RunState.WAITING)
    await daemon.people.answer(child.id, "anna", approved=True, via="test")
    assert (await daemon.until(child)).result is Result.FIXED


async def test_nobody_gets_through_a_run_what_he_may_not_ask_for(make_daemon: MakeDaemon) -> None:
    asks = Asks("dangerous")
    operators = {"anna": OperatorSettings(), "carla": OperatorSettings(risks=(Risk.SAFE,))}
    daemon = await make_daemon(Scripted(first=asks), Dangerous(), operators=operators)
    await daemon.until(await daemon.ask(request(by="carla")))
    assert "carla" in asks.said[0]
    assert await asked_by(daemon, "dangerous") == []
    await daemon.until(await daemon.ask(request("k2", by="anna")))
    child = await daemon.until(asks.said[1])
    assert (child.source, child.requested_by) == (Source.PERSON, "anna")


async def test_nobody_gets_through_an_alert_that_he_sends_what_he_may_not_ask_for(make_daemon: MakeDaemon) -> None:
    asks = Asks("dangerous")
    operators = {"anna": OperatorSettings(), "am": OperatorSettings(actions=("scripted",))}
    daemon = await make_daemon(Scripted(first=asks), Dangerous(), operators=operators)
    await daemon.until(await daemon.ask(request(sender="am")))
    assert asks.said == ["am may ask for actions, but only for the actions scripted, not for dangerous"]
    assert await asked_by(daemon, "dangerous") == []
    parent = await daemon.until(await daemon.ask(request("k2", sender="anna")))
    child = await daemon.until(asks.said[1])
    assert (child.source, child.requested_by, child.sender) == (Source.RUN, f"run {parent.id}", "anna")


async def test_what_was_asked_for_by_a_run_asks_for_nothing(make_daemon: MakeDaemon) -> None:
    further = Asks("scripted")
    asks = Asks()
    daemon = await make_daemon(Scripted(first=asks), Guarded(first=further))
    await daemon.until(await daemon.ask(request()))
    await daemon.until(asks.said[0])
    assert further.said == ["guarded was asked for by another run, and may not ask for more"]


async def test_nothing_is_asked_for_while_it_is_planned(make_daemon: MakeDaemon) -> None:
    asks = Asks()
    daemon = await make_daemon(Scripted(planning=asks), Guarded())
    await daemon.until(await daemon.ask(request()))
    assert asks.said == ["nothing may be changed now: only a step may, and what undoes it"]
    assert await asked_by(daemon, "guarded") == []


async def test_which_runs_have_ended(make_daemon: MakeDaemon) -> None:
    told: list[object] = []
    gate = Gate()

    async def look(job: Job) -> None:
        assert job.ended is not None
        told.append(set(await job.ended([ended.id, job.run_id, "ffffffffffff"])))
        await gate(job)

    daemon = await make_daemon(Scripted(), Guarded(first=look))
    ended = await daemon.until(await daemon.ask(request()))
    run = await daemon.ask(request("k2", action="guarded"))
    await gate.until_reached()
    gate.go.set()
    await daemon.until(run)
    assert told == [{ended.id}], "not one that is under way, nor one that nobody knows"


@pytest.fixture
async def short_of_room(
    make_environment: MakeEnvironment, sql: asyncpg.Connection, tmp_path: Path
) -> Callable[[Tier], Environment]:
    """20 old conversations, on a disk of which next to nothing is free."""
    await sql.execute(SCHEMA)
    await sql.execute("insert into conversations select i, now() - interval '1 year' from generate_series(1, 20) i")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "data").write_bytes(b"x" * 100_000)

    def make(tier: Tier) -> Environment:
        policy = with_retention(TIER_DEFAULTS[tier]).model_copy(update={"window": None})
        disks = {"quota": {"path": str(tmp_path / "disk"), "limit": 105_000}}
        return make_environment("place", tier, policy=policy, disks=disks)

    return make


@pytest.mark.parametrize(("tier", "state"), [(Tier.QA, RunState.ENDED), (Tier.PRODUCTION, RunState.WAITING)])
async def test_room_is_made_by_runs_that_it_asks_for(
    make_daemon: MakeDaemon,
    short_of_room: Callable[[Tier], Environment],
    sql: asyncpg.Connection,
    tier: Tier,
    state: RunState,
) -> None:
    world = TestWorld({"place": short_of_room(tier)})
    daemon = await make_daemon(RelieveDisk(), Cleanup(), around=world)
    asked = request(environment="place", action="relieve_disk", parameters={"least_bytes": 1}, by="anna")
    run = await daemon.ask(asked)
    if tier is Tier.PRODUCTION:
        await daemon.until(run, RunState.WAITING)
        await daemon.people.answer(run.id, "bruno", approved=True, via="test")
    run = await daemon.until(run)
    assert run.result is Result.NOT_FIXED
    assert "less than the promised 10%" in (run.outcome or "")
    (child,) = await daemon.people.runs(RunFilter(action="cleanup"))
    assert f"asked for cleanup (run {child.id})" in (run.outcome or "")
    child = await daemon.until(child, state)
    assert child.parameters["relname"] == "conversations"
    left = await sql.fetchval("select count(*) from conversations")
    assert left == (0 if tier is Tier.QA else 20), "production's people have not answered yet"
    await world.close()


async def test_where_room_is_not_short_nothing_is_asked_for(
    make_environment: MakeEnvironment, make_daemon: MakeDaemon, sql: asyncpg.Connection, tmp_path: Path
) -> None:
    await sql.execute(SCHEMA)
    await sql.execute("insert into conversations select i, now() - interval '1 year' from generate_series(1, 20) i")
    policy = with_retention(TIER_DEFAULTS[Tier.QA])
    disks = {"quota": {"path": str(tmp_path), "limit": 10**10}}
    world = TestWorld({"place": make_environment("place", policy=policy, disks=disks)})
    daemon = await make_daemon(RelieveDisk(), Cleanup(), around=world)
    run = await daemon.until(
        await daemon.ask(request(environment="place", action="relieve_disk", parameters={"least_bytes": 1}))
    )
    assert run.result is Result.FIXED, run.outcome
    assert run.plan is not None
    assert "to decide: " in run.plan.summary
    assert await asked_by(daemon, "cleanup") == []
    await world.close()
