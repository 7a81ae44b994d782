"""What the engine stands on: the daemon around it, the state database, and what is configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from actions import Action, Job, Progress
from daemon.actions.events import ActionEvent
from daemon.actions.guard import Limits
from daemon.actions.ledger import Ledger
from daemon.actions.operators import Operators
from daemon.actions.views import Run, StopSwitch
from daemon.state import StateDatabase
from fleet.environment import Environment

MayChange = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Disk:
    """Of the environment's server, in bytes."""

    free: float
    total: float


class World(Protocol):
    """What the engine needs of the daemon around it."""

    def environment(self, name: str) -> Environment | None: ...

    def job(self, run: Run, environment: Environment, progress: Progress, may_change: MayChange) -> Job:
        """The means for one turn. `may_change` is asked whenever a session is opened that can write."""

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        """Run the collectors `subjects` of an environment now and evaluate the rules that read them."""

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        """Whether the alert with these labels is still pending or firing."""

    async def disk(self, environment: str) -> Disk | None:
        """The fullest disk of the environment's server; None where it is not known."""

    def emit(self, event: ActionEvent) -> None:
        """Tell whoever listens. Must not block."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all turns share. `now` gives unix seconds; `stopped` reads the stop switch, None where it cannot be read."""

    state: StateDatabase
    ledger: Ledger
    world: World
    actions: Mapping[str, Action[Any]]
    limits: Callable[[], Limits]
    operators: Callable[[], Operators]
    stopped: Callable[[AsyncConnection], Awaitable[StopSwitch | None]]
    now: Callable[[], float]

    def conflicts(self) -> dict[str, frozenset[str]]:
        return {name: action.conflicts for name, action in self.actions.items()}
