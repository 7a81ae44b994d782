"""One turn of a run: what the stages of the engine are handed, and how a turn may end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from actions import Action, Job, Plan
from daemon.actions import runs
from daemon.actions.asking import Meaning
from daemon.actions.events import ActionEvent, Happened
from daemon.actions.guard import Case
from daemon.actions.ledger import Entry, Subject
from daemon.actions.means import Means
from daemon.actions.request import Outcome, Request, Result
from daemon.actions.views import Run
from fleet.backups.scrub import scrub
from fleet.environment import Environment
from fleet.policy import Strict


@dataclass(slots=True)
class Turn:
    """A run in the hands of this process."""

    run: Run
    meant: Meaning
    job: Job
    means: Means
    ratio: float = 0.0
    doing: str = ""
    step_begun: float = 0.0
    applying: bool = False
    interrupted: str | None = None  # why the work was cut: cancel, fenced

    @property
    def environment(self) -> Environment:
        return self.meant.environment

    @property
    def action(self) -> Action[Any]:
        return self.meant.action

    @property
    def parameters(self) -> Strict:
        return self.meant.parameters

    @property
    def plan(self) -> Plan:
        if self.run.plan is None:
            raise RuntimeError(f"run {self.run.id} has no plan")
        return self.run.plan

    @property
    def case(self) -> Case:
        return Case(request_of(self.run), self.meant.risk, self.meant.target, windowed=self.action.windowed)

    @property
    def subject(self) -> Subject:
        return subject_of(self.run)

    async def record(self, connection: AsyncConnection, entry: Entry, **facts: Any) -> None:
        await self.means.ledger.write(connection, entry, self.subject, **facts)

    def tell(
        self,
        kind: Happened,
        text: str = "",
        figures: Mapping[str, float | str] | None = None,
        result: Result | None = None,
        *,
        again: bool = False,
    ) -> None:
        """Only once it is so: after the transaction."""
        now = self.means.now()
        self.means.world.emit(ActionEvent(kind, self.run, now, scrub(text), figures or {}, result, again))


def request_of(run: Run) -> Request:
    return Request(
        environment=run.environment,
        action=run.action,
        key=run.key,
        requested_by=run.requested_by,
        at=run.requested_at,
        source=run.source,
        reason=run.reason,
        parameters=run.parameters,
        alert=run.alert,
        sender=run.sender,
    )


def subject_of(run: Run, person: str | None = None) -> Subject:
    return Subject(run.id, run.environment, run.action, person)


@dataclass(frozen=True, slots=True)
class Ended:
    """The run has come to its end."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Parked:
    """It wants another turn, not before `until` (unix seconds; None: when something that ends may let it, such as a run
    that it is `behind`).
    """

    ground: str
    reason: str
    until: float | None = None
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """People were asked, or told it to pause; their answer brings the next turn."""


Stop = Ended | Parked | Asked
Stage = Callable[[Turn], Awaitable[Stop | None]]


async def cancelled(turn: Turn, connection: AsyncConnection) -> Ended | None:
    """How it ends if a person has cancelled it. Whoever wants to from now on waits for the end of this transaction,
    and finds what the run is by then.
    """
    run = await runs.get(connection, turn.run.id, lock=True)
    return by_hand(turn, run) if run is not None and run.asked == "cancel" else None


def by_hand(turn: Turn, run: Run) -> Ended:
    return ended(turn, Result.CANCELLED, f"cancelled by {run.asked_by or 'a person'}")


def ended(turn: Turn, result: Result, reason: str, after: Mapping[str, float | str] | None = None) -> Ended:
    now, run = turn.means.now(), turn.run
    seconds = now - run.begun_at if run.begun_at is not None else 0.0
    before = run.plan.figures if run.plan is not None and run.begun_at is not None else {}
    return Ended(Outcome(run.id, result, scrub(reason), before, after or {}, seconds))
