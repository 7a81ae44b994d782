"""One of several daemons on a state database, as a process: it works on the environments whose leases it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.cluster import Membership, read_instance
from daemon.config import Limits
from daemon.state import StateDatabase
from fleet.secrets import Secrets, SecretText
from tests.chaos.counting import Counting
from tests.chaos.worker import assemble, log_to, make_environment, serving
from tests.integration.engines import TestWorld

LIMITS = Limits(per_hour=1000, per_hour_fleet=1000, at_once_environment=1)


@dataclass(frozen=True, slots=True)
class MemberOrders:
    """`environments` are the URLs of their databases by name; `directory` is the daemon's own, and stays."""

    state_url: str
    environments: Mapping[str, str]
    directory: str

    @property
    def world(self) -> TestWorld:
        return TestWorld({name: make_environment(name, dsn, name) for name, dsn in self.environments.items()})


async def _serve(orders: MemberOrders) -> None:
    directory, world = Path(orders.directory), orders.world
    state = StateDatabase(SecretText(orders.state_url), directory, Secrets(time.monotonic))
    await state.open()

    async def changed(_gained: frozenset[str], _lost: frozenset[str]) -> None:
        engine.serve_environments(membership.held)

    membership = Membership(state, instance=read_instance(directory), on_change=changed)
    actions = {Counting.name: Counting()}
    engine, _ = assemble(state, world, directory, owner=membership.id, actions=actions, limits=LIMITS)
    membership.want(world.environments)
    async with serving(state, engine):
        await membership.join()
        await membership.serve()


def serve(orders: MemberOrders) -> None:
    """The process, until it is killed. What it logs is in its directory."""
    log_to(Path(orders.directory))
    asyncio.run(_serve(orders))
