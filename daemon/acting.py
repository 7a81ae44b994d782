"""Everything that acts, put together: state database, leases, engine, schedules, and what alerts ask for."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from actions import Action
from daemon import clock
from daemon.actions.engine import Engine
from daemon.actions.ledger import Ledger
from daemon.actions.means import Means
from daemon.actions.metrics import Standing
from daemon.actions.operators import Operators
from daemon.actions.people import People
from daemon.actions.switch import Switches
from daemon.alerting import Alerting, AlertMirror, SharedSamples
from daemon.cluster import Membership, read_instance
from daemon.config import Settings
from daemon.dispatch import Dispatcher
from daemon.parts import make_actions
from daemon.schedules import Schedules
from daemon.scrape import Batch
from daemon.state import StateDatabase
from daemon.world import DaemonWorld
from fleet.errors import StateError
from fleet.secrets import Secrets
from rules import Lasting

DISPATCH_SECONDS = 5.0
MEMBERS_SECONDS = 10.0
Hold = Callable[[Collection[str]], Awaitable[None]]
Own = Callable[[str, Coroutine[Any, Any, None]], None]


class Acting:
    """One daemon among those that share a state database.

    `hold` is awaited with the environments to look after, whenever they change; `compared` says which metrics of an
    environment other daemons need.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        secrets: Secrets,
        world: DaemonWorld,
        alerting: Alerting,
        compared: Callable[[str], Collection[str]],
        hold: Hold,
    ) -> None:
        self._settings = settings
        self._alerting = alerting
        self._hold = hold
        self._news = asyncio.Event()  # an alert has changed
        self._operators = _operators(settings)
        self.state = StateDatabase(settings.state.url, settings.data_dir, secrets)
        instance = read_instance(settings.data_dir)
        self._membership = Membership(self.state, instance=instance, on_change=self._changed)
        member = self._membership.id
        self._mirror = AlertMirror(self.state, alerting, member=member, instance=instance, now=clock.now)
        self._shared = SharedSamples(
            self.state, alerting, member=member, metrics=compared, elsewhere=self._elsewhere, now=clock.now
        )
        self.ledger = ledger = Ledger(self.state, settings.data_dir, clock.now)
        switches = Switches(settings.data_dir, ledger, clock.now)
        means = Means(
            state=self.state,
            ledger=ledger,
            world=world,
            actions=make_actions(),
            limits=lambda: self._settings.actions,
            operators=lambda: self._operators,
            stopped=switches.read,
            now=clock.now,
        )
        self._engine = Engine(means, member)
        self.people = People(self._engine, switches)
        self._dispatcher = Dispatcher(self._engine.submit, means.actions)
        self._schedules = Schedules(self.state, self._engine.submit, now=clock.now)
        self._joined = False
        self.members: int | None = None

    async def start(self, address: str, parts: AsyncExitStack) -> None:
        """Take up what this daemon is to look after; `parts` lets go of it. The rules are loaded, and none is judged.

        Raises:
            StateError: the state database can never be used as it is.
        """
        self._membership.address = address
        parts.push_async_callback(self._let_go)
        self._schedules.apply(self._settings.environments)
        self._membership.want(self._settings.environments)
        await self._membership.join()
        for environment in self._elsewhere():
            await self._alerting.release(environment)
        self._joined = True

    def serve(self, own: Own) -> None:
        """Work. Whatever is begun last is ended first."""
        own("alert mirror", self._mirror.serve())
        own("shared samples", self._shared.serve())
        own("actions", self._engine.serve())
        own("membership", self._membership.serve())
        own("members", self._count_members())
        own("schedules", self._schedules.serve())
        own("dispatch", self._dispatch())

    async def apply(self, settings: Settings) -> None:
        """Use another configuration from now on."""
        for new in settings.environments.keys() - self._settings.environments.keys():
            await self._alerting.release(new)  # until the lease is ours
        self._settings = settings
        self._operators = _operators(settings)
        self._schedules.apply(settings.environments)
        self._membership.want(settings.environments)

    def note(self, changes: Sequence[Lasting], at: float) -> None:
        """What lasts of alerts has changed. May be called from any thread."""
        self._mirror.note(changes, at)

    def land(self, batch: Batch) -> None:
        """A batch of ours has landed."""
        self._shared.offer(batch)

    def wake(self) -> None:
        """An alert has changed."""
        self._news.set()

    @property
    def environments(self) -> frozenset[str]:
        """Those that this daemon looks after."""
        return self._membership.held

    @property
    def idle(self) -> bool:
        """Whether others look after everything, as far as this is known."""
        return self._joined and not self.environments

    def operators(self) -> Operators:
        return self._operators

    @property
    def actions(self) -> Mapping[str, Action[Any]]:
        return self._engine.means.actions

    def parameters(self, action: str) -> Collection[str] | None:
        """The names of the parameters of an action; None: there is no such one."""
        found = self._engine.means.actions.get(action)
        return None if found is None else found.parameters().model_fields

    @property
    def standing(self) -> Standing:
        return self._engine.standing

    @property
    def state_up(self) -> bool:
        return self.state.away is None

    @property
    def held(self) -> int:
        return len(self.environments)

    async def _changed(self, gained: frozenset[str], lost: frozenset[str]) -> None:
        """Environments come and go: first what was about to be done, last their alerts, and the other way round."""
        held = self.environments
        if lost:
            self._engine.serve_environments(held)
            await self._engine.left()
            await self._hold(held)
            await self._mirror.lose(lost)
        if gained:
            await self._mirror.gain(gained)
            await self._hold(held)
            self._engine.serve_environments(held)

    def _elsewhere(self) -> Collection[str]:
        return self._settings.environments.keys() - self.environments

    async def _let_go(self) -> None:
        with suppress(StateError, TimeoutError):
            await self._mirror.flush()
        await self._membership.leave()

    async def _dispatch(self) -> None:
        """Ask again for what is still firing; what begins to fire is asked for at once."""
        while True:
            self._news.clear()
            firing = await asyncio.to_thread(self._alerting.firing)
            await self._dispatcher.consider(firing, clock.now(), self.state.away)
            with suppress(TimeoutError):
                async with asyncio.timeout(DISPATCH_SECONDS):  # wait_for may lose a cancellation before Python 3.12
                    await self._news.wait()

    async def _count_members(self) -> None:
        while True:
            with suppress(StateError):
                self.members = len(await self._membership.members())
            await asyncio.sleep(MEMBERS_SECONDS)


def _operators(settings: Settings) -> Operators:
    return Operators(settings.operators, pwd.getpwuid(os.geteuid()).pw_name)
