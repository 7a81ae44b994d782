"""Daemons with the same schedules on one state database; time is handed in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from daemon.actions.request import Request
from daemon.schedules import Schedules
from daemon.state import StateDatabase
from fleet.environment import Environment
from fleet.errors import ActionError, StateAwayError
from fleet.policy import Policy, Schedule
from fleet.secrets import SecretText
from tests.integration.states import StateOpener


def at(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def environments(cron: str = "0 * * * *", name: str = "qa", **fields: object) -> dict[str, Environment]:
    schedule = Schedule.model_validate({"action": "backup", "cron": cron, **fields})
    policy = Policy(schedules={"often": schedule})
    return {name: Environment(name=name, tier="qa", dsn=SecretText("${env:X}"), policy=policy)}


@dataclass
class Engine:
    """Takes a key once only, as the real one does; `asked` counts also those that were in vain."""

    taken: dict[str, Request] = field(default_factory=dict)
    asked: int = 0
    error: Exception | None = None
    killed: bool = False

    async def submit(self, request: Request) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.taken.setdefault(request.key, request)
        if self.killed:
            raise KeyboardInterrupt

    @property
    def slots(self) -> list[str]:
        return [key.removeprefix("cron:qa:often:").removesuffix(":00Z") for key in self.taken]


@dataclass
class World:
    state: StateDatabase
    engine: Engine = field(default_factory=Engine)
    now: float = at("2025-06-01T10:30")

    def daemon(self, wanted: dict[str, Environment] | None = None, state: StateDatabase | None = None) -> Schedules:
        one = Schedules(state or self.state, self.engine.submit, lambda: self.now)
        one.apply(environments() if wanted is None else wanted)
        return one

    async def fire(self, moment: str, *daemons: Schedules) -> None:
        self.now = at(moment)
        await asyncio.gather(*(one.fire_due() for one in daemons))


@pytest.fixture
def world(state: StateDatabase) -> World:
    return World(state)


async def test_a_new_schedule_owes_nothing_and_then_every_time_is_asked_for_once(world: World) -> None:
    one = world.daemon()
    await world.fire("2025-06-01T10:30", one)
    assert world.engine.slots == []
    for moment in ("10:59:59", "11:00:00", "11:00:01", "11:30", "12:00:05"):
        await world.fire(f"2025-06-01T{moment}", one)
    assert world.engine.slots == ["2025-06-01T11:00", "2025-06-01T12:00"]
    request = world.engine.taken["cron:qa:often:2025-06-01T12:00:00Z"]
    assert (request.environment, request.action, request.requested_by) == ("qa", "backup", "schedule often")
    assert world.engine.asked == 2
    assert one.upcoming() == [("qa", "often", at("2025-06-01T13:00"))]


async def test_two_daemons_of_which_one_is_killed_ask_for_each_time_once(world: World, open_state: StateOpener) -> None:
    a, b = world.daemon(), world.daemon(state=await open_state())
    await world.fire("2025-06-01T10:30", a, b)
    for hour in range(11, 15):
        await world.fire(f"2025-06-01T{hour}:00:01", a, b)
    for hour in range(15, 18):  # a is dead
        await world.fire(f"2025-06-01T{hour}:00:01", b)
    a = world.daemon()
    for hour in range(18, 20):
        await world.fire(f"2025-06-01T{hour}:00:01", a, b)
    assert world.engine.slots == [f"2025-06-01T{hour}:00" for hour in range(11, 20)]


async def test_one_that_is_killed_between_asking_and_remembering_doubles_nothing(world: World) -> None:
    a = world.daemon()
    await world.fire("2025-06-01T10:30", a)
    world.engine.killed = True
    world.now = at("2025-06-01T11:00")
    with pytest.raises(KeyboardInterrupt):
        await a.fire_due()
    world.engine.killed = False
    await world.fire("2025-06-01T11:05", world.daemon())
    assert (world.engine.asked, world.engine.slots) == (2, ["2025-06-01T11:00"])


@pytest.mark.parametrize(
    ("back", "slots"),
    [
        ("2025-06-01T12:10", ["2025-06-01T12:00"]),
        ("2025-06-01T15:29", ["2025-06-01T15:00"]),  # several were missed: one request
        ("2025-06-01T15:31", []),
    ],
)
async def test_what_was_missed_by_less_than_catch_up_is_asked_for_late(
    world: World, back: str, slots: list[str]
) -> None:
    wanted = environments(catch_up="30m")
    await world.fire("2025-06-01T10:30", world.daemon(wanted))
    after = world.daemon(wanted)
    await world.fire(back, after)
    await world.fire(back, after)
    assert world.engine.slots == slots


async def test_what_was_due_while_the_state_database_was_away_is_asked_for_when_it_returns(world: World) -> None:
    one = world.daemon(environments("0 11 * * *", catch_up="10m"))
    await world.fire("2025-06-01T10:30", one)
    await world.state.close()
    for moment in ("11:00", "11:20", "16:00"):
        with pytest.raises(StateAwayError):
            await world.fire(f"2025-06-01T{moment}", one)
    await world.state.open()
    world.engine.error = StateAwayError("gone again")
    with pytest.raises(StateAwayError):
        await world.fire("2025-06-01T16:01", one)
    world.engine.error = None
    await world.fire("2025-06-01T16:02", one)
    await world.fire("2025-06-01T16:03", one)
    assert world.engine.slots == ["2025-06-01T11:00"]


async def test_a_request_that_is_refused_is_not_repeated(world: World) -> None:
    one = world.daemon()
    await world.fire("2025-06-01T10:30", one)
    world.engine.error = ActionError("no")
    await world.fire("2025-06-01T11:00", one)
    await world.fire("2025-06-01T11:01", one)
    assert world.engine.asked == 1


async def test_a_time_that_comes_while_the_one_before_is_asked_for_is_not_lost(world: World) -> None:
    async def slow(request: Request) -> None:
        """Meanwhile a minute passes, and somebody looks at what is next."""
        await world.engine.submit(request)
        if world.engine.asked == 1:
            world.now = at("2025-06-01T10:32")
            one.upcoming()

    one = Schedules(world.state, slow, lambda: world.now)
    one.apply(environments("* * * * *"))
    await world.fire("2025-06-01T10:30:30", one)
    await world.fire("2025-06-01T10:31", one)
    assert world.engine.slots == ["2025-06-01T10:31", "2025-06-01T10:32"]


async def test_a_reload_counts_at_once_and_owes_nothing_for_the_time_before(world: World) -> None:
    one = world.daemon()
    await world.fire("2025-06-01T10:30", one)
    await world.fire("2025-06-01T12:45", one)
    one.apply(environments("30 * * * *"))
    await world.fire("2025-06-01T12:46", one)
    await world.fire("2025-06-01T13:30", one)
    one.apply(environments("30 * * * *", enabled=False))
    await world.fire("2025-06-01T14:30", one)
    assert one.upcoming() == []
    one.apply(environments("30 * * * *"))
    await world.fire("2025-06-01T14:45", one)
    await world.fire("2025-06-01T15:30", one)
    assert world.engine.slots == ["2025-06-01T12:00", "2025-06-01T13:30", "2025-06-01T15:30"]


@pytest.mark.parametrize(
    ("begin", "slots"),
    [
        ("2025-03-29T12:00", ["2025-03-30T01:30", "2025-03-31T00:30"]),
        ("2025-10-25T12:00", ["2025-10-26T00:30", "2025-10-27T01:30"]),
    ],
)
async def test_when_the_clock_changes_every_night_has_its_time(world: World, begin: str, slots: list[str]) -> None:
    wanted = environments("30 2 * * *", timezone="Europe/Rome")
    world.now = at(begin)
    a, b = world.daemon(wanted), world.daemon(wanted)
    for _ in range(40 * 4):
        await asyncio.gather(a.fire_due(), b.fire_due())
        world.now += 900
    assert world.engine.slots == slots


async def test_it_asks_by_itself_and_idle_it_asks_the_database_nothing(world: World) -> None:
    loop = asyncio.get_running_loop()
    base = loop.time()
    begin = at("2025-06-01T10:59:58")
    one = Schedules(world.state, world.engine.submit, lambda: begin + loop.time() - base)
    one.apply(environments())
    task = loop.create_task(one.serve())
    async with asyncio.timeout(60):
        while not world.engine.taken:  # noqa: ASYNC110 - the engine is told in its own time
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    async with world.state.begin() as connection:
        last = await connection.scalar(text("select extract(epoch from last_slot) from schedule"))
    assert float(last) == at("2025-06-01T11:00")
