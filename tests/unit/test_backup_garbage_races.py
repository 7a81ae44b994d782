"""Backups, copies and prunes of several processes over one store, in any order, each of them killed now and then."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from fleet.backups import read_manifests
from fleet.backups.garbage import condemn, remove_backup, sweep
from fleet.backups.replicate import replicate
from fleet.errors import StoreError
from tests.snapshots import DAY, ENVIRONMENT, HOUR, Killed, MemoryStore, dangling, make_snapshot, nothing, packs

_BACKUP, _PRUNE = 12 * HOUR, 6 * HOUR


class World:
    """Time jumps between the calls of the store; who takes longer than allowed is ended, as the engine does."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.store = MemoryStore()
        self.store.hook = self.turn
        self.deadlines: dict[asyncio.Task[None], float] = {}
        self.done = {"backup": 0, "prune": 0, "copy": 0}

    async def turn(self, _call: str, _key: str) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        if self.chance.random() < 0.02:
            self.store.now += self.chance.random() * 5 * HOUR
        task = asyncio.current_task()
        late = task is not None and self.store.now > self.deadlines.get(task, float("inf"))
        if late or self.chance.random() < 0.002:
            raise Killed

    async def backup(self) -> None:
        seeds = self.chance.sample(range(6), 2)
        await make_snapshot(
            self.store, self.store.now, packs(*seeds, chunks=1), run=f"{self.chance.getrandbits(32):08x}"
        )

    async def prune(self) -> None:
        manifests = await read_manifests(self.store, ENVIRONMENT)
        removing = [one.id for one in manifests[:-1] if self.chance.random() < 0.5]
        await condemn(self.store, ENVIRONMENT, self.store.now, removing)
        for id_ in removing:
            await remove_backup(self.store, ENVIRONMENT, id_)
        await sweep(self.store, ENVIRONMENT, lambda: self.store.now)

    async def copy(self) -> None:
        elsewhere = MemoryStore()
        seeds = self.chance.sample(range(6), 2)
        manifest = await make_snapshot(
            elsewhere, self.store.now, packs(*seeds, chunks=1), run=f"{self.chance.getrandbits(32):08x}"
        )
        await replicate(elsewhere, self.store, manifest)

    async def process(self, name: str, work: Callable[[], Awaitable[None]], limit: float) -> None:
        """One daemon that does this again and again."""
        task = asyncio.current_task()
        assert task is not None
        for _ in range(10):
            self.deadlines[task] = self.store.now + limit
            with suppress(Killed, StoreError, BaseExceptionGroup):
                await work()
                self.done[name] += 1
            self.deadlines.pop(task)
            self.store.now += self.chance.random() * 7 * HOUR
            for _ in range(self.chance.randrange(50)):
                await asyncio.sleep(0)


async def live_through(seed: int) -> World:
    """A world in which all has ended, and days have gone by."""
    world = World(seed)
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(world.process("backup", world.backup, _BACKUP))
            group.create_task(world.process("prune", world.prune, _PRUNE))
        group.create_task(world.process("copy", world.copy, _BACKUP))
    world.store.hook = nothing
    assert await dangling(world.store) == [], f"seed {seed}"
    for _ in range(4):
        world.store.now += DAY
        await condemn(world.store, ENVIRONMENT, world.store.now)
        await sweep(world.store, ENVIRONMENT, lambda: world.store.now)
    return world


async def test_no_backup_ever_lacks_an_object() -> None:
    done: Counter[str] = Counter()
    for seed in range(40):
        world = await live_through(seed)
        assert await dangling(world.store) == [], f"seed {seed}, afterwards"
        done.update(world.done)
    assert min(done[name] for name in ("backup", "prune", "copy")) > 40, done
