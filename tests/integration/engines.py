"""An engine in a world of its own, and actions that do as they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from actions import Action, Job, Progress
from daemon.actions import ActionEvent, Request, Run, RunState, Source
from daemon.actions.engine import Engine
from daemon.actions.guard import Limits
from daemon.actions.ledger import Ledger
from daemon.actions.means import Disk, MayChange, Means
from daemon.actions.operators import Operators
from daemon.actions.people import People
from daemon.actions.switch import Switches
from daemon.actions.takeover import application_name
from daemon.actions.views import LedgerFilter
from daemon.config import OperatorSettings
from daemon.state import StateDatabase, raw
from fleet.connections import Connections
from fleet.embedded import EmbeddedServer
from fleet.environment import Environment
from fleet.errors import StateAwayError
from fleet.policy import TIER_DEFAULTS, Tier
from fleet.secrets import Secrets, SecretText
from fleet.stores import Store
from tests.integration.scripted import SOON


async def until(true: Callable[[], bool | Awaitable[bool]], seconds: float = SOON) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


@dataclass
class TestWorld:
    """A daemon as the engine sees it. Time goes on as it does, from where the test sets it."""

    __test__ = False

    environments: dict[str, Environment]
    stores: Mapping[str, Store] = field(default_factory=dict)
    firing: bool = False
    shift: float = 0.0
    disks: dict[str, Disk] = field(default_factory=dict)
    events: list[ActionEvent] = field(default_factory=list)
    read: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    refuse_reread: Exception | None = None
    opened: list[Connections] = field(default_factory=list)

    def now(self) -> float:
        return time.time() + self.shift

    def environment(self, name: str) -> Environment | None:
        return self.environments.get(name)

    def job(self, run: Run, environment: Environment, progress: Progress, may_change: MayChange) -> Job:
        secrets = Secrets(time.monotonic)
        reading = Connections(environment, secrets)
        name = application_name(run.id, run.attempt)
        changes = Connections(environment, secrets, read_only=False, application_name=name, check=may_change)
        self.opened += [reading, changes]

        def elsewhere(name: str) -> Job:
            return self.job(run, self.environments[name], progress, may_change)

        return Job(
            run_id=run.id,
            attempt=run.attempt,
            started_at=run.begun_at or self.now(),
            environment=environment,
            connections=reading,
            changes=changes,
            secrets=secrets,
            stores=self.stores,
            now=self.now,
            progress=progress,
            data=dict(run.data),
            elsewhere=elsewhere,
            tiers={name: each.tier for name, each in self.environments.items()},
        )

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        if self.refuse_reread:
            raise self.refuse_reread
        self.read.append((environment, tuple(subjects)))

    def still_firing(self, _alert: Mapping[str, str]) -> bool:
        return self.firing

    async def disk(self, environment: str) -> Disk | None:
        return self.disks.get(environment)

    def emit(self, event: ActionEvent) -> None:
        self.events.append(event)

    def told(self) -> list[str]:
        return [event.title for event in self.events]

    def use(self, name: str, **policy: Any) -> None:
        """Change the policy of an environment."""
        old = self.environments[name]
        changed = old.policy.model_copy(update=policy)
        self.environments[name] = old.model_copy(update={"policy": changed})

    async def close(self) -> None:
        for connections in self.opened:
            await connections.close()


@dataclass
class Daemon:
    """One engine at work, and what people have of it."""

    engine: Engine
    people: People
    world: TestWorld
    state: StateDatabase
    stack: AsyncExitStack

    async def ask(self, asked: Request) -> Run:
        return (await self.people.submit(asked)).run

    async def until(self, run: Run | str, *states: RunState, seconds: float = SOON) -> Run:
        """The run once it is in one of these states."""
        wanted = states or (RunState.ENDED,)
        run_id = run if isinstance(run, str) else run.id
        async with asyncio.timeout(seconds):
            while True:
                if (found := (await self.people.run(run_id)).run).state in wanted:
                    return found
                await asyncio.sleep(0.01)

    async def until_after(self, run: Run) -> Run:
        """The ended run, although the state database is away for a while."""
        async with asyncio.timeout(SOON):
            while True:
                try:
                    return await self.until(run)
                except StateAwayError:
                    await self.state.returned()

    async def entries(self, run: Run) -> list[str]:
        """What the ledger says of a run, oldest first, in words."""
        found = await self.people.entries(LedgerFilter(run_id=run.id))
        words = ("decision", "ground", "name", "state", "approved", "fixed", "result", "what")
        return [" ".join([each.entry, *(str(each.facts[w]) for w in words if w in each.facts)]) for each in found[::-1]]

    async def sql(self, query: str, *values: object) -> list[asyncpg.Record]:
        """What the state database says."""
        async with self.state.begin() as connection:
            return list(await (await raw(connection)).fetch(query, *values))

    async def later(self, seconds: float) -> None:
        """Let time pass, and look what is due by then."""
        self.world.shift += seconds
        await self.engine.sweep()

    async def stop(self) -> None:
        await self.stack.aclose()


MakeDaemon = Callable[..., Awaitable[Daemon]]


@pytest.fixture(scope="session")
def fleet_database(server: EmbeddedServer) -> str:
    """The database of all environments: what is done there is of one run, and nobody else looks."""

    async def make() -> None:
        admin = await asyncpg.connect(server.dsn())
        await admin.execute("create database t_fleet")
        await admin.close()

    asyncio.run(make())
    return "t_fleet"


@pytest.fixture
async def world(server: EmbeddedServer, fleet_database: str) -> AsyncIterator[TestWorld]:
    tiers = {"dev": Tier.DEVELOPMENT, "qa": Tier.QA, "qa2": Tier.QA, "preprod": Tier.PREPROD, "prod": Tier.PRODUCTION}
    where = {"dsn": server.dsn(fleet_database), "databases": (fleet_database,), "tls": {"mode": "disable"}}
    policies = {tier: TIER_DEFAULTS[tier].model_copy(update={"window": None}) for tier in Tier}
    world = TestWorld(
        {
            name: Environment.model_validate({"name": name, "tier": tier, "policy": policies[tier], **where})
            for name, tier in tiers.items()
        }
    )
    yield world
    await world.close()


@pytest.fixture
def hardly_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens before a test gives up was not found by looking from time to time."""
    monkeypatch.setattr("daemon.actions.engine.SWEEP_SECONDS", 120.0)


@pytest.fixture
async def make_daemon(
    world: TestWorld, open_state: Callable[[], Awaitable[StateDatabase]], tmp_path: Path
) -> AsyncIterator[MakeDaemon]:
    """Start daemons on one state database; each is stopped after the test."""
    numbers = iter(range(100))
    async with AsyncExitStack() as stack:

        async def make(
            *actions: Action[Any],
            environments: Sequence[str] | None = None,
            operators: Mapping[str, OperatorSettings] | None = None,
            around: TestWorld | None = None,
            **limits: Any,
        ) -> Daemon:
            state, here, own = await open_state(), around or world, AsyncExitStack()
            data_dir = tmp_path / f"daemon{next(numbers)}"
            data_dir.mkdir()
            ledger = Ledger(state, data_dir, here.now)
            switches = Switches(data_dir, ledger, here.now)
            people = {name: OperatorSettings() for name in ("anna", "bruno", "carla")}
            known = Operators(people if operators is None else operators, "anna")
            chosen = Limits(**limits)
            means = Means(
                state=state,
                ledger=ledger,
                world=here,
                actions={action.name: action for action in actions},
                limits=lambda: chosen,
                operators=lambda: known,
                stopped=switches.read,
                now=here.now,
            )
            engine = Engine(means, data_dir.name)
            engine.serve_environments(here.environments if environments is None else environments)
            async with state.begin() as connection:  # SQLAlchemy's first look at it, which an outage must not meet
                await connection.exec_driver_sql("select 1")
            await own.enter_async_context(serving(state.serve(), engine.serve()))
            stack.push_async_callback(own.aclose)
            return Daemon(engine, People(engine, switches), here, state, own)

        yield make


@asynccontextmanager
async def serving(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let them run; they are ended in the reverse order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])


_TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = $1 and not ($2 and (query like '%pg_is_in_recovery%' or query like '%alembic%' or query = 'select 1'))
"""
Outage = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def outage(server: EmbeddedServer, state_url: SecretText) -> Outage:
    """Take the state database away for a while; `spare` spares the sessions that only watch over it."""
    name = urlsplit(state_url.raw).path.lstrip("/")

    @asynccontextmanager
    async def away(*, spare: bool = False) -> AsyncIterator[None]:
        admin = await asyncpg.connect(server.dsn())
        try:
            await admin.execute(f"alter database {name} allow_connections false")
            await admin.execute(_TERMINATE, name, spare)
            yield
        finally:
            await admin.execute(f"alter database {name} allow_connections true")
            await admin.close()

    return away


ALERT = {"alertname": "TooOld", "environment": "qa"}


def request(key: str = "k1", environment: str = "qa", action: str = "scripted", **fields: Any) -> Request:
    """By an alert, unless `by` names a person."""
    person = fields.pop("by", None)
    if person is not None:
        fields |= {"source": Source.PERSON, "requested_by": person}
    values: dict[str, Any] = {"requested_by": "alert TooOld", "at": time.time(), **fields}
    return Request(environment=environment, action=action, key=key, **values)
