"""Alerts move between two daemons' rule engines over a real state database; time is handed in, leases are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text

from daemon.alerting import Alerting, AlertMirror, FileJournal, RuleThread
from daemon.state import StateDatabase
from fleet.errors import StateAwayError
from rules import Labels, Lasting, SampleStore, State, Transition, parse_text
from tests.integration.states import StateOpener
from tests.integration.test_alerting import DOWN, LARGE, RULES, T0, batch
from tests.judging import told

FIRING, PENDING = State.FIRING, State.PENDING


@dataclass
class Clock:
    now: float = T0


@dataclass
class Daemon:
    """Rules, journal and mirror of one process; a later one with the same name follows it."""

    name: str
    clock: Clock
    state: StateDatabase
    alerting: Alerting
    mirror: AlertMirror
    transitions: list[Transition] = field(default_factory=list)

    @property
    def states(self) -> dict[str, tuple[State, float]]:
        return {view.name: (view.state, view.active_at - T0) for view in self.alerting.alerts()}

    def take(self) -> list[tuple[str, str, str]]:
        found, self.transitions[:] = told(self.transitions), []
        return sorted(found)

    async def lease(self, *environments: str) -> None:
        """Take leases, as a membership does."""
        async with self.state.begin() as connection:
            for environment in environments:
                await connection.execute(
                    text("""
                        insert into lease as old (environment, holder, until) values (:one, :me, now())
                        on conflict (environment) do update set holder = :me,
                            alerts_by = case when old.alerts_by = :name then old.alerts_by end
                    """),
                    {"one": environment, "me": f"{self.name}.1", "name": self.name},
                )

    async def gain(self, *environments: str) -> None:
        await self.lease(*environments)
        await self.mirror.gain(environments)

    async def see(
        self, seconds: float, *, up: bool, size: float, environment: str = "qa"
    ) -> list[tuple[str, str, str]]:
        self.clock.now += seconds
        self.alerting.land(batch(self.clock.now, up=up, size=size, environment=environment), judge=True)
        await self.alerting.settle()
        await self.alerting.tick()
        return self.take()


Starter = Callable[..., Awaitable[Daemon]]


@pytest.fixture
async def daemon(open_state: StateOpener, tmp_path: Path) -> AsyncIterator[Starter]:
    threads: list[RuleThread] = []
    clock = Clock()

    async def start(name: str, environments: Iterable[str] = ("qa",)) -> Daemon:
        thread = RuleThread()
        threads.append(thread)
        heard: list[Transition] = []

        def note(changes: Sequence[Lasting], at: float) -> None:
            mirror.note(changes, at)

        alerting = Alerting(
            publish=heard.append,
            journal=FileJournal(tmp_path / f"{name}.jsonl"),
            now=lambda: clock.now,
            thread=thread,
            store=SampleStore(),
            own=lambda: [(Labels({"__name__": "custode_build_info"}), 1.0)],
            mirror=note,
        )
        state = await open_state()
        mirror = AlertMirror(state, alerting, member=f"{name}.1", instance=name, now=lambda: clock.now)
        await alerting.reload(parse_text(RULES, "rules.yml"), {"sizes": 15.0})
        await alerting.restore()
        one = Daemon(name, clock, state, alerting, mirror, heard)
        for environment in environments:
            await alerting.release(environment)
        return one

    yield start
    for thread in threads:
        thread.close()


async def rows(state: StateDatabase) -> dict[tuple[str, str], str]:
    async with state.begin() as connection:
        found = await connection.execute(text("select environment, alert from alert"))
        return {(row.environment, row.alert["labels"]["alertname"]): row.alert["state"] for row in found}


async def firing_on(a: Daemon) -> None:
    await a.gain("qa")
    assert await a.see(0, up=False, size=500.0) == [DOWN, LARGE]


async def test_alerts_are_written_behind_and_ended_ones_removed(daemon: Starter) -> None:
    a = await daemon("a")
    await firing_on(a)
    await a.mirror.flush()
    assert await rows(a.state) == {("qa", "Down"): "firing", ("qa", "Large"): "pending"}
    await a.see(15, up=True, size=1.0)
    await a.mirror.flush()
    assert await rows(a.state) == {("qa", "Down"): "resolved"}


async def test_what_was_handed_over_goes_on_and_nobody_is_told(daemon: Starter) -> None:
    a, b = await daemon("a"), await daemon("b")
    await firing_on(a)
    await a.see(20, up=False, size=500.0)
    await a.mirror.lose(["qa"])  # with what was not written yet
    assert (a.states, a.take()) == ({}, [])
    assert await a.see(0, up=False, size=500.0) == []  # a batch that was under way
    b.clock.now += 5
    await b.gain("qa")
    assert b.take() == []
    assert b.states == {"Down": (FIRING, 0), "Large": (PENDING, 5)}
    assert await b.see(10, up=False, size=500.0) == [("Large", "pending", "firing")]
    assert await b.see(15, up=True, size=500.0) == [("Down", "firing", "resolved")]


async def test_after_a_crash_the_other_takes_over_what_was_written(daemon: Starter) -> None:
    a, b = await daemon("a"), await daemon("b")
    await firing_on(a)
    await a.mirror.flush()
    b.clock.now += 100
    await b.gain("qa")
    assert b.states == {"Down": (FIRING, 0), "Large": (PENDING, 100)}
    # the first one comes back and does not know it yet: it can write nothing any more
    await a.see(0, up=True, size=1.0)
    await a.mirror.flush()
    await b.mirror.flush()
    assert await rows(b.state) == {("qa", "Down"): "firing", ("qa", "Large"): "pending"}


async def test_after_a_restart_the_own_journal_counts(daemon: Starter) -> None:
    a = await daemon("a")
    await firing_on(a)
    await a.mirror.flush()
    assert await a.see(15, up=True, size=500.0) == [("Down", "firing", "resolved")]  # in the journal only
    a.clock.now += 60
    again = await daemon("a", ())
    await again.gain("qa")
    assert again.states == {"Large": (PENDING, 60)}
    await again.mirror.flush()
    assert await rows(a.state) == {("qa", "Down"): "resolved", ("qa", "Large"): "pending"}


async def test_what_another_one_had_meanwhile_counts_more_than_the_own_journal(daemon: Starter) -> None:
    a, b = await daemon("a"), await daemon("b")
    await firing_on(a)
    await a.mirror.flush()
    await b.gain("qa")
    await b.see(5, up=False, size=500.0)
    assert await b.see(10, up=True, size=500.0) == [("Down", "firing", "resolved")]
    await b.mirror.flush()
    again = await daemon("a", ())  # its journal still says that it fires
    assert set(again.states) == {"Down", "Large"}
    await again.gain("qa")
    assert again.states == {"Large": (PENDING, 0)}
    assert again.take() == []


async def test_alerts_handed_over_and_back_are_not_taken_from_an_emptied_journal(daemon: Starter) -> None:
    a = await daemon("a")
    await firing_on(a)
    await a.mirror.lose(["qa"])
    again = await daemon("a")
    await again.gain("qa")
    assert again.states == {"Down": (FIRING, 0), "Large": (PENDING, 0)}


async def test_while_the_database_is_away_all_goes_on_and_is_caught_up_with(daemon: Starter) -> None:
    a = await daemon("a")
    await a.lease("qa")
    await a.state.close()
    await a.mirror.gain(["qa"])
    assert a.mirror.behind is not None
    assert await a.see(0, up=False, size=500.0) == [DOWN, LARGE]
    with pytest.raises(StateAwayError):
        await a.mirror.flush()
    await a.state.open()
    await a.mirror.flush()
    assert a.mirror.behind is None
    assert await rows(a.state) == {("qa", "Down"): "firing", ("qa", "Large"): "pending"}
    await a.state.close()
    assert await a.see(15, up=True, size=500.0) == [("Down", "firing", "resolved")]
    assert await a.see(15, up=True, size=1.0) == [("Large", "pending", "inactive")]
    await a.state.open()
    await a.mirror.flush()
    assert await rows(a.state) == {("qa", "Down"): "resolved"}


async def test_it_writes_by_itself_and_idles_quietly(daemon: Starter) -> None:
    a = await daemon("a")
    await firing_on(a)
    task = asyncio.get_running_loop().create_task(a.mirror.serve())
    async with asyncio.timeout(60):
        while len(await rows(a.state)) < 2:  # noqa: ASYNC110 - a row in a database
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])


async def test_only_alerts_of_environments_are_mirrored(daemon: Starter) -> None:
    a = await daemon("a")
    await a.gain("qa")
    await a.alerting.reload(parse_text("groups: [{name: g, rules: [{alert: Own, expr: vector(1)}]}]", "x.yml"), {})
    await a.alerting.tick()
    await a.mirror.flush()
    assert set(a.states) == {"Own"}
    assert await rows(a.state) == {}
