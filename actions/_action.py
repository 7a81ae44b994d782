"""The seam for actions: plan, named steps, verify, and an undo where one exists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from fleet.connections import Connections
from fleet.environment import Environment
from fleet.policy import Risk, Strict, Tier
from fleet.secrets import Secrets
from fleet.stores import Store

Figures = Mapping[str, float | str]
Progress = Callable[[float, str], None]  # done as a ratio from 0 to 1, and what is being done
Object = Mapping[str, Any]  # JSON
# an action, its parameters, and why; the id of the run
Ask = Callable[[str, Object, str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Job:
    """One run of an action on one environment; `run_id` names it everywhere.

    `started_at` and what `now` gives are unix seconds. A run that is continued after a crash keeps its `run_id` and
    `started_at`, so names made of them stay the same; `attempt` counts from 1 and is another one each time.

    `connections` can only read. `changes` can write: its sessions are refused, and those that are open are ended, once
    somebody else has taken the run over; outside of a step they raise ActionError. What steps leave in `data` is JSON,
    and outlives the process from the end of the step on.

    `ask` asks for another action on the same environment, in a step only: a run of its own, which the guard and people
    decide on as on any other. Asked again by the same run, it is the same run. Raises ActionError where that cannot be,
    or whoever asked for this run may not. `ended` tells which of these runs have come to their end; of a run that is
    not known, it does not.
    """

    run_id: str
    attempt: int
    started_at: float
    environment: Environment
    connections: Connections
    changes: Connections
    secrets: Secrets
    stores: Mapping[str, Store]
    now: Callable[[], float]
    progress: Progress
    elsewhere: Callable[[str], Job] | None = None  # the same run on another environment, by name; raises ActionError
    tiers: Mapping[str, Tier] = field(default_factory=dict)  # of all environments, by name
    ask: Ask | None = None
    ended: Callable[[Collection[str]], Awaitable[Collection[str]]] | None = None
    client_tools: Path | None = None  # folder of pg_dump and its like; None: the PATH, then the embedded server's
    data: dict[str, Any] = field(default_factory=dict)  # what earlier steps found, for later ones
    cancelled: bool = False  # to undo: a person wants it, and not only a failure


@dataclass(frozen=True, slots=True)
class Target:
    """What a run works on, for the guard.

    Two runs of an action never work on the same `object` of an environment ("" is all of it) at once; `databases` are
    those that are touched (None: any), `store` is the backup store that is filled or read.
    """

    object: str = ""
    databases: frozenset[str] | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, for people to read and to approve before it is done.

    `steps` are the names of what `Action.steps` gives, `commands` the statements in words of the server; `objects` say
    exactly what is acted upon. These three are what an approval is bound to: where they change, people are asked
    again. `figures` are the world before. A plan without steps says that nothing has to be done.
    `disk_bytes` is the room that it takes on the disk of the environment's server.
    """

    summary: str
    steps: tuple[str, ...]
    figures: Figures = field(default_factory=dict)
    objects: tuple[Object, ...] = ()
    commands: tuple[str, ...] = ()
    effect: str = ""
    disk_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """A named part of an action; it may be run again after a crash, so it must be idempotent. Returns figures.

    It is ended after `timeout`. Where it fails in a way that may pass, it is tried `tries` times in all.
    """

    name: str
    run: Callable[[], Awaitable[Figures]]
    timeout: timedelta = timedelta(hours=1)
    tries: int = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the world is now as the action meant it, and why; `figures` are the world after."""

    fixed: bool
    reason: str
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of the verdict that stays visible, as the metric `custode_<metric>`, until it is measured again.

    It is about the index that is the first of the plan's objects.
    """

    metric: str
    help: str
    figure: str


P = TypeVar("P", bound=Strict)


class Action(ABC, Generic[P]):
    """One kind of remediation.

    A parameter that is called as a label of the alert that asks (`datname`, `schemaname`, `relname`) takes its value.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    risk: ClassVar[Risk]
    subjects: ClassVar[tuple[str, ...]] = ()  # collectors to run at once after it, so that the world is re-read
    conflicts: ClassVar[frozenset[str]] = frozenset()  # actions that must not run on the same database at once
    windowed: ClassVar[bool] = True  # waits for the maintenance window where its risk asks for one
    measures: ClassVar[tuple[Measure, ...]] = ()

    @abstractmethod
    def parameters(self) -> type[P]:
        """The pydantic model of what a request may say."""

    def risk_of(self, _parameters: P) -> Risk:
        """The risk of a run with these parameters."""
        return self.risk

    def target(self, _parameters: P) -> Target:
        """What a run with these parameters works on."""
        return Target()

    @abstractmethod
    async def plan(self, job: Job, parameters: P) -> Plan:
        """Look at the world and say what would be done. Changes nothing. Raises ActionError when it cannot be done."""

    @abstractmethod
    def steps(self, job: Job, parameters: P, plan: Plan) -> Sequence[Step]:
        """The steps, in order, as `plan` named them; the same ones after a restart."""

    @abstractmethod
    async def verify(self, job: Job, parameters: P, plan: Plan) -> Verdict:
        """Re-read the world and say whether the action helped."""

    async def undo(self, job: Job, parameters: P, plan: Plan) -> None:
        """Take back what a run left that was cancelled, failed or was given up. Must be idempotent."""
