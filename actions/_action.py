"""The seam for actions: plan, named steps, verify."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from fleet.connections import Connections
from fleet.environment import Environment
from fleet.policy import Risk, Strict
from fleet.secrets import Secrets
from fleet.stores import Store

Figures = Mapping[str, float | str]
Progress = Callable[[float, str], None]  # done as a ratio from 0 to 1, and what is being done


@dataclass(frozen=True, slots=True)
class Job:
    """One run of an action on one environment; `run_id` names it everywhere.

    `started_at` and what `now` gives are unix seconds. A run that is continued after a crash keeps its `run_id` and
    `started_at`, so names made of them stay the same. What steps leave in `data` is JSON.
    """

    run_id: str
    started_at: float
    environment: Environment
    connections: Connections
    secrets: Secrets
    stores: Mapping[str, Store]
    now: Callable[[], float]
    progress: Progress
    client_tools: Path | None = None  # folder of pg_dump and its like; None: the PATH, then the embedded server's
    data: dict[str, object] = field(default_factory=dict)  # what earlier steps found, for later ones


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done, for people to read before it is done."""

    summary: str
    steps: tuple[str, ...]
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A named part of an action; it may be run again after a crash, so it must be idempotent. Returns figures."""

    name: str
    run: Callable[[], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the world is now as the action meant it, and why."""

    fixed: bool
    reason: str
    figures: Figures = field(default_factory=dict)


P = TypeVar("P", bound=Strict)


class Action(ABC, Generic[P]):
    """One kind of remediation."""

    name: ClassVar[str]
    summary: ClassVar[str]
    risk: ClassVar[Risk]
    subjects: ClassVar[tuple[str, ...]] = ()  # collectors to run at once after it, so that the world is re-read

    @abstractmethod
    def parameters(self) -> type[P]:
        """The pydantic model of what a request may say."""

    @abstractmethod
    async def plan(self, job: Job, parameters: P) -> Plan:
        """Look at the world and say what would be done. Changes nothing. Raises ActionError when it cannot be done."""

    @abstractmethod
    def steps(self, job: Job, parameters: P) -> Sequence[Step]:
        """The steps, in order, as `plan` named them."""

    @abstractmethod
    async def verify(self, job: Job, parameters: P) -> Verdict:
        """Re-read the world and say whether the action helped."""
