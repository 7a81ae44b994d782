"""Actions that do as they are told by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from actions import Action, Job, Plan, Step, Target, Verdict
from actions._action import Figures
from fleet.policy import Risk, Strict

SOON = 60.0  # seconds until something has happened for certain


class Size(Strict):
    size: int = 1
    object: str = ""


async def pass_by(_job: Job) -> None:
    return


class Gate:
    """A place in an action that is reached, and left when the test says so."""

    def __init__(self) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, _job: Job) -> None:
        self.reached.set()
        await self.go.wait()

    async def until_reached(self) -> None:
        await asyncio.wait_for(self.reached.wait(), SOON)


class Raises:
    """Fails so often, then passes."""

    def __init__(self, error: Exception, times: int = 1000) -> None:
        self.error, self.times, self.called = error, times, 0

    async def __call__(self, _job: Job) -> None:
        self.called += 1
        if self.called <= self.times:
            raise self.error


@dataclass
class Scripted(Action[Size]):
    """Two steps, of which each does what the test hands in, and then notes that it was done."""

    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "for tests"
    risk: ClassVar[Risk] = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("tables",)

    planning: Callable[[Job], Awaitable[None]] = pass_by
    first: Callable[[Job], Awaitable[None]] = pass_by
    second: Callable[[Job], Awaitable[None]] = pass_by
    undoing: Callable[[Job], Awaitable[None]] = pass_by
    verdict: Verdict | Exception = field(default_factory=lambda: Verdict(True, "it is done", {"rows": 3}))
    objects: tuple[Mapping[str, Any], ...] = ({"relname": "chunks"},)
    store: str | None = None
    databases: frozenset[str] | None = None
    planned: tuple[str, ...] = ("first", "second")
    needs: float = 0.0
    tries: int = 3
    timeout: timedelta = timedelta(minutes=1)
    done: list[str] = field(default_factory=list)

    def parameters(self) -> type[Size]:
        return Size

    def target(self, parameters: Size) -> Target:
        return Target(parameters.object, self.databases, self.store)

    async def plan(self, job: Job, parameters: Size) -> Plan:
        await self.planning(job)
        summary = f"work of size {parameters.size} on {job.environment.name}"
        return Plan(
            summary,
            self.planned,
            {"rows": 7},
            self.objects,
            ("select 1",),
            "rows go down",
            disk_bytes=self.needs,
        )

    def steps(self, job: Job, parameters: Size, _plan: Plan) -> Sequence[Step]:
        async def first() -> Figures:
            await self.first(job)
            self.done.append(f"{job.environment.name}/first")
            job.data["found"] = parameters.size
            return {"rows": parameters.size}

        async def second() -> Figures:
            job.progress(0.5, "half of it")
            assert job.data["found"] == parameters.size
            await self.second(job)
            self.done.append(f"{job.environment.name}/second")
            return {}

        return Step("first", first, self.timeout, self.tries), Step("second", second, self.timeout, self.tries)

    async def verify(self, job: Job, _parameters: Size, _plan: Plan) -> Verdict:
        assert f"{job.environment.name}/second" in self.done
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def undo(self, job: Job, _parameters: Size, _plan: Plan) -> None:
        await self.undoing(job)
        self.done.append(f"{job.environment.name}/{'cancelled' if job.cancelled else 'undone'}")


class Guarded(Scripted):
    name: ClassVar[str] = "guarded"
    risk: ClassVar[Risk] = Risk.GUARDED


class Dangerous(Scripted):
    name: ClassVar[str] = "dangerous"
    risk: ClassVar[Risk] = Risk.DANGEROUS


class Destructive(Scripted):
    name: ClassVar[str] = "destructive"
    risk: ClassVar[Risk] = Risk.DESTRUCTIVE
