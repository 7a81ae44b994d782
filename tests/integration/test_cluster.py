"""Two and three daemons' memberships on one real state database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import event, text

from daemon.cluster import Membership
from daemon.state import StateDatabase
from fleet.embedded import EmbeddedServer
from fleet.secrets import Secrets, SecretText
from tests.conftest import FAST
from tests.integration.states import StateOpener

SOON = 60.0  # seconds until something has happened for certain
ALL = [f"e{number:02}" for number in range(10)]


async def until(true: Callable[[], bool], seconds: float) -> float:
    """Wait for it; how long it took."""
    started = time.monotonic()
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - many things may make it true
            await asyncio.sleep(0.02)
    return time.monotonic() - started


class Daemon:
    """A membership at work, that can be frozen; `looked_after` is what its `on_change` was told."""

    def __init__(self, state: StateDatabase, instance: str, wanted: list[str]) -> None:
        self.looked_after: set[str] = set()
        self.lost: list[str] = []
        self.busy = asyncio.Event()  # on_change waits for it
        self.busy.set()
        self.state = state
        self.membership = Membership(state, instance=instance, address=f"{instance}:9188", on_change=self._change)
        self.membership.want(wanted)
        self._task: asyncio.Task[None] | None = None

    async def _change(self, gained: frozenset[str], lost: frozenset[str]) -> None:
        await self.busy.wait()
        self.looked_after = (self.looked_after | gained) - lost
        self.lost += sorted(lost)

    async def start(self) -> Self:
        await self.membership.join()
        self.wake()
        return self

    def wake(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.membership.serve())

    async def freeze(self) -> None:
        """As SIGSTOP does, or a crash: it says nothing more to anybody."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def stop(self) -> None:
        await self.freeze()
        await self.membership.leave()


Starter = Callable[..., Daemon]


@pytest.fixture
async def daemon(open_state: StateOpener) -> AsyncIterator[Starter]:
    made: list[Daemon] = []
    states = [await open_state() for _ in range(3)]

    def make(instance: str, wanted: list[str] = ALL, *, state: StateDatabase | None = None) -> Daemon:
        one = Daemon(state or states[len(made) % 3], instance, wanted)
        made.append(one)
        return one

    yield make
    for one in made:
        await one.freeze()


def shared(*daemons: Daemon) -> bool:
    """Whether all is looked after once, and evenly."""
    parts = [one.looked_after for one in daemons]
    sizes = [len(part) for part in parts]
    return set().union(*parts) == set(ALL) and sum(sizes) == len(ALL) and max(sizes) - min(sizes) <= 1


def looks_after(one: Daemon, *environments: str) -> bool:
    return one.looked_after == set(environments)


async def test_alone_it_gets_everything_in_its_first_beat(daemon: Starter) -> None:
    a = daemon("a")
    await a.membership.join()
    assert (a.looked_after, a.membership.held) == (set(ALL), frozenset(ALL))


async def test_a_beat_takes_two_statements(open_state: StateOpener) -> None:
    state, said = await open_state(), []
    event.listen(state._engine.sync_engine, "before_cursor_execute", lambda *one: said.append(one[2]))
    member = Membership(state, instance="a")
    member.want(ALL)
    for _ in range(3):
        await member.join()
    assert len(said) == 6


async def test_a_process_that_follows_a_killed_one_waits_for_nothing(daemon: Starter) -> None:
    await daemon("a").membership.join()
    after = daemon("a")
    await after.membership.join()
    assert after.looked_after == set(ALL)
    assert [one.id for one in await after.membership.members()] == [after.membership.id]


async def test_two_share_and_people_see_it(daemon: Starter) -> None:
    a = await daemon("a").start()
    b = await daemon("b").start()
    assert b.looked_after == set()
    await until(lambda: shared(a, b), SOON)
    assert len(a.lost) == 5  # no more than needed
    members = await a.membership.members()
    assert [(one.id, set(one.environments)) for one in members] == [
        (a.membership.id, a.looked_after),
        (b.membership.id, b.looked_after),
    ]
    assert members[0].address == "a:9188"
    assert all(one.silent < 6 for one in members), "else its lease had run out"


async def test_three_share_and_what_two_of_them_leave_is_taken_over(daemon: Starter) -> None:
    daemons = [daemon(name) for name in "abc"]
    await asyncio.gather(*(one.start() for one in daemons))
    await until(lambda: shared(*daemons), SOON)
    a, b, c = daemons
    await b.freeze()
    b.looked_after = set()
    assert await until(lambda: shared(a, c), SOON) > 3  # while the lease lasted, nobody took it
    await c.stop()
    c.looked_after = set()
    async with c.state.begin() as connection:
        leased = await connection.scalar(text("select count(*) from lease where holder = :id"), {"id": c.membership.id})
    assert leased == 0, "nobody waits for what it gave back"
    await until(lambda: shared(a), SOON)


async def test_one_that_was_frozen_notices_what_it_lost(daemon: Starter) -> None:
    a, b = await daemon("a").start(), await daemon("b").start()
    await until(lambda: shared(a, b), SOON)
    await b.freeze()
    had = set(b.looked_after)
    await until(lambda: a.looked_after == set(ALL), SOON)
    assert b.looked_after == had
    b.wake()
    await until(lambda: had <= set(b.lost), SOON)
    await until(lambda: shared(a, b), SOON)


async def test_what_is_handed_over_is_free_only_when_its_holder_let_go_of_it(daemon: Starter) -> None:
    a = await daemon("a").start()
    a.busy.clear()
    b = await daemon("b").start()
    await until(lambda: len(a.membership.held) == 5, SOON)
    await asyncio.sleep(7)  # longer than a lease: it is renewed although on_change has not come back
    assert (b.looked_after, len(a.looked_after)) == (set(), 10)
    a.busy.set()
    await until(lambda: shared(a, b), SOON)


async def test_each_gets_only_what_it_wants_and_a_reload_counts_at_once(
    daemon: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await daemon("a", ["e00", "e01", "e02"]).start(), await daemon("b", ["e02", "e03"]).start()
    await until(lambda: a.looked_after | b.looked_after == {"e00", "e01", "e02", "e03"}, SOON)
    assert b.looked_after >= {"e03"}
    with monkeypatch.context() as patched:
        patched.setattr("daemon.cluster._membership.BEAT_SECONDS", 600.0)
        for wanted in ("e08", "e09"):  # in front of the second there is such a beat, and only the wish can end it
            b.membership.want([wanted])
            await until(partial(looks_after, b, wanted), SOON)
    a.membership.want(["e00", "e01", "e02"])  # as b, it may be in a long beat
    await until(lambda: a.looked_after == {"e00", "e01", "e02"}, SOON)


async def test_many_at_once_hold_nothing_twice(open_state: StateOpener) -> None:
    """All beats at the same moment, again and again: the leases in the database belong to one each."""
    state = await open_state()
    members = [Membership(state, instance=f"{number}") for number in range(5)]
    for one in members:
        one.want(ALL)
    for _ in range(8):
        await asyncio.gather(*(one.join() for one in members))
        held = [environment for one in members for environment in one.held]
        assert len(held) == len(set(held))
    assert sorted(held) == ALL
    assert {len(one.held) for one in members} == {2}


async def restarted(server: EmbeddedServer, path: Path) -> EmbeddedServer:
    await asyncio.to_thread(server.stop)
    return await asyncio.to_thread(EmbeddedServer.start, path, settings=FAST)


async def test_while_the_state_database_is_away_all_keep_what_they_have(scratch: Path) -> None:
    path = scratch / "restarted"
    server = await asyncio.to_thread(EmbeddedServer.start, path, settings=FAST)
    states = [StateDatabase(SecretText(server.dsn()), scratch, Secrets(time.monotonic)) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = []
        for state in states[:2]:
            await state.open()
            tasks.append(group.create_task(state.serve()))
        a, b = await Daemon(states[0], "a", ALL).start(), await Daemon(states[1], "b", ALL).start()
        try:
            await until(lambda: shared(a, b), SOON)
            a.lost.clear()
            await asyncio.to_thread(server.stop)
            await until(lambda: all(state.away for state in states[:2]), SOON)
            a.membership.want([*ALL, "new"])
            await until(lambda: "new" in a.looked_after, SOON)  # nobody can tell whose it is
            await states[2].open()
            tasks.append(group.create_task(states[2].serve()))
            c = await Daemon(states[2], "c", ALL).start()
            assert c.looked_after == set(ALL)
            await asyncio.sleep(7)  # longer than a lease
            assert (a.lost, b.lost) == ([], [])
            server = await asyncio.to_thread(EmbeddedServer.start, path, settings=FAST)
            a.membership.want(ALL)
            await until(lambda: len(c.looked_after) < 5, SOON)
            await until(lambda: shared(a, b, c), SOON)
            moved = [name for name in (*a.lost, *b.lost) if name != "new"]
            assert len(moved) <= 4  # what c was owed, and nothing else
            await c.freeze()
        finally:
            await a.freeze()
            await b.freeze()
            for task in tasks:
                task.cancel()
    for state in states:
        await state.close()
    server.stop()
