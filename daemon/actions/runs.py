"""The runs in the state database: every change of one, each in a transaction of the caller, fenced by its attempt."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, Protocol, cast

from pydantic import TypeAdapter
from sqlalchemy import CursorResult, Table, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from actions import Plan, Target
from daemon.actions.ledger import clean
from daemon.actions.request import Outcome, Request, Result, Source
from daemon.actions.views import Answer, Progress, Run, RunDetail, RunFilter, RunState, StepView
from daemon.state.models import ActionRun, ActionStep, Approval
from fleet.errors import ActionError

RUN = cast("Table", ActionRun.__table__)
_STEP = cast("Table", ActionStep.__table__)
_APPROVAL = cast("Table", Approval.__table__)
_PLAN = TypeAdapter(Plan)
_FIGURES = re.compile(r"[\d.]+\w*\s*")
_FREE = dict.fromkeys(("owner", "progress", "asked", "ground", "parked", "not_before"))


class FencedError(ActionError):
    """Another process has taken the run over, or it has ended: whatever this one still wanted is not done."""

    code = "CU513"


def run_of(row: RowMapping) -> Run:
    names = Run.__dataclass_fields__
    values = {name: row[name] for name in names}
    values["source"], values["state"] = Source(row["source"]), RunState(row["state"])
    values["result"] = Result(row["result"]) if row["result"] else None
    values["plan"] = plan_of(row["plan"])
    values["progress"] = Progress(**row["progress"]) if row["progress"] else None
    return Run(**values)


def plan_of(stored: Mapping[str, Any] | None) -> Plan | None:
    return None if stored is None else _PLAN.validate_python(stored)


async def add(connection: AsyncConnection, run_id: str, request: Request, target: Target) -> Run | None:
    """The new run; None where there is one under this key, or an active one of the action on the object."""
    row = {
        "id": run_id,
        "key": request.key,
        "source": request.source.value,
        "environment": request.environment,
        "action": request.action,
        "object": target.object,
        "databases": None if target.databases is None else sorted(target.databases),
        "store": target.store,
        "parameters": clean(request.parameters),
        "requested_by": request.requested_by,
        "sender": request.sender,
        "requested_at": request.at,
        "reason": clean(request.reason),
        "alert": None if request.alert is None else clean(request.alert),
    }
    return await _one(connection, insert(RUN).values(row).on_conflict_do_nothing().returning(RUN))


async def under_key(connection: AsyncConnection, key: str) -> list[Run]:
    """Runs that were asked for under a key, or under it again (`key#2`), newest first."""
    near = and_(RUN.c.key >= key, RUN.c.key < f"{key}$")  # "$" comes after "#"
    query = select(RUN).where(near, or_(RUN.c.key == key, func.starts_with(RUN.c.key, f"{key}#")))
    return await many(connection, query.order_by(RUN.c.requested_at.desc()))


async def declined(connection: AsyncConnection, run: Run, since: float) -> str | None:
    """Who said no to an ended run when people were asked, by rejecting or cancelling it; None: nobody has `since`.

    Who cancels what needs nobody's approval, such as a backup in a bad moment, has not said no to the next one.
    """
    if run.begun_at is not None or run.expires_at is None or (run.ended_at or 0.0) < since:
        return None
    if run.result is Result.CANCELLED:
        return run.asked_by
    query = select(_APPROVAL.c.person).where(_APPROVAL.c.run_id == run.id, _APPROVAL.c.approved.is_(False))
    person: str | None = (await connection.execute(query.order_by(_APPROVAL.c.id).limit(1))).scalar_one_or_none()
    return person


async def refused_again(connection: AsyncConnection, run: Run) -> bool:
    """Whether this run ended as the one before it that the same alert asked for, and both before they were planned."""
    key, again, _ = run.key.rpartition("#")
    if not again or run.source is not Source.ALERT or run.plan is not None or run.attempt > 1:
        return False
    before = next((each for each in await under_key(connection, key) if each.id != run.id), None)
    if before is None or before.plan is not None or before.result is not run.result:
        return False
    return _words(before) == _words(run)


def _words(run: Run) -> str:
    """Its outcome without the figures in it, such as how long it has to wait."""
    return _FIGURES.sub("", run.outcome or "")


async def active(connection: AsyncConnection, environment: str, action: str, target: Target) -> Run | None:
    query = select(RUN).where(
        RUN.c.environment == environment,
        RUN.c.action == action,
        RUN.c.object == target.object,
        RUN.c.state != "ended",
    )
    return next(iter(await many(connection, query)), None)


async def ended_among(connection: AsyncConnection, ids: Collection[str]) -> frozenset[str]:
    query = select(RUN.c.id).where(RUN.c.id.in_(list(ids)), RUN.c.state == "ended")
    return frozenset((await connection.execute(query)).scalars())


async def get(connection: AsyncConnection, run_id: str, *, lock: bool = False) -> Run | None:
    query = select(RUN).where(RUN.c.id == run_id)
    return next(iter(await many(connection, query.with_for_update() if lock else query)), None)


async def beginning(connection: AsyncConnection, prefix: str) -> list[Run]:
    """At most two runs whose id begins so."""
    query = select(RUN).where(func.starts_with(RUN.c.id, prefix)).limit(2)
    return await many(connection, query)


async def listed(connection: AsyncConnection, wanted: RunFilter) -> list[Run]:
    query = select(RUN).order_by(RUN.c.requested_at.desc()).limit(wanted.limit)
    if wanted.environment is not None:
        query = query.where(RUN.c.environment == wanted.environment)
    if wanted.action is not None:
        query = query.where(RUN.c.action == wanted.action)
    if wanted.states:
        query = query.where(RUN.c.state.in_([state.value for state in wanted.states]))
    if wanted.results:
        query = query.where(RUN.c.result.in_([result.value for result in wanted.results]))
    if wanted.before is not None:
        query = query.where(RUN.c.requested_at < wanted.before)
    return await many(connection, query)


async def detail(connection: AsyncConnection, run: Run) -> RunDetail:
    steps = await connection.execute(select(_STEP).where(_STEP.c.run_id == run.id).order_by(_STEP.c.number))
    views = [StepView(**{name: row[name] for name in StepView.__dataclass_fields__}) for row in steps.mappings()]
    return RunDetail(run, tuple(views), tuple(await answers(connection, run.id)))


async def claim(connection: AsyncConnection, run_id: str, owner: str, now: float) -> Run | None:
    """Take a run that wants a turn, or that a process left in the middle; None where there is nothing to do yet.

    Calls come twice, and late ones to a run that has parked again: none of them shortens a wait.
    """
    died = RUN.c.state == "running"
    query = (
        update(RUN)
        .where(RUN.c.id == run_id, RUN.c.state.in_(("queued", "running")))
        .where(or_(RUN.c.not_before.is_(None), RUN.c.not_before <= now))
        .values(
            state="running",
            attempt=RUN.c.attempt + 1,
            deaths=RUN.c.deaths + died.cast(RUN.c.deaths.type),
            owner=owner,
            not_before=None,
        )
        .returning(RUN)
    )
    return await _one(connection, query)


async def write(connection: AsyncConnection, run: Run, **values: Any) -> Run:
    """Change a run that is ours. Raises FencedError where it is not, any more."""
    return await _mine(connection, run, update(RUN).values(values))


class Waits(Protocol):
    """Why a run has to wait, as a word and in words, and until when at least."""

    @property
    def ground(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def until(self) -> float | None: ...


async def park(connection: AsyncConnection, run: Run, waits: Waits, at: float) -> Run:
    """It wants another turn, later."""
    progress = {"ratio": 0.0, "doing": waits.reason, "at": at}
    values = {
        "ground": waits.ground,
        "parked": waits.reason,
        "not_before": waits.until,
        "owner": None,
        "state": "queued",
    }
    return await write(connection, run, **values, progress=progress)


async def finish(connection: AsyncConnection, run: Run, outcome: Outcome, at: float) -> Run:
    values = {
        "state": "ended",
        "result": outcome.result.value,
        "outcome": clean(outcome.reason),
        "before": clean(outcome.before),
        "after": clean(outcome.after),
        "ended_at": at,
        **_FREE,
    }
    if run.state is RunState.RUNNING:
        return await write(connection, run, **values)
    # nobody works on it: what it was when it was looked at is what it must be still
    query = update(RUN).where(RUN.c.id == run.id, RUN.c.state == run.state.value, RUN.c.attempt == run.attempt)
    return _still(await _one(connection, query.values(values).returning(RUN)), run)


async def change(connection: AsyncConnection, run: Run, **values: Any) -> Run:
    """Change a run that is locked by this transaction, whoever works on it."""
    query = update(RUN).where(RUN.c.id == run.id).values(values).returning(RUN)
    return _still(await _one(connection, query), run)


async def begin_step(connection: AsyncConnection, run: Run, number: int, name: str, at: float) -> int:
    """Put on record that a step of a run that is ours begins; which try it is."""
    row = {"run_id": run.id, "number": number, "name": name, "attempt": run.attempt, "begun_at": at}
    query = insert(_STEP).values(row)
    # one that ended with its process was no try
    tries = _STEP.c.tries + case((_STEP.c.error.is_not(None), 1), else_=0)
    again = {"attempt": run.attempt, "begun_at": at, "tries": tries, "error": None}
    statement = query.on_conflict_do_update(index_elements=["run_id", "number"], set_=again).returning(_STEP.c.tries)
    return int((await connection.execute(statement)).scalar_one())


async def end_step(
    connection: AsyncConnection,
    run: Run,
    number: int,
    at: float,
    *,
    figures: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Put on record that a step has ended, with `figures` well and with `error` badly."""
    values = {"figures": clean(figures), "finished_at": at} if error is None else {"error": clean(error)}
    await connection.execute(update(_STEP).where(_STEP.c.run_id == run.id, _STEP.c.number == number).values(values))


async def finished_steps(connection: AsyncConnection, run: Run) -> set[int]:
    query = select(_STEP.c.number).where(_STEP.c.run_id == run.id, _STEP.c.finished_at.is_not(None))
    return set((await connection.execute(query)).scalars())


async def answers(connection: AsyncConnection, run_id: str) -> list[Answer]:
    rows = await connection.execute(select(_APPROVAL).where(_APPROVAL.c.run_id == run_id).order_by(_APPROVAL.c.id))
    return [Answer(**{name: row[name] for name in Answer.__dataclass_fields__}) for row in rows.mappings()]


async def add_answer(connection: AsyncConnection, run_id: str, answer: Answer) -> bool:
    """Whether it is the first of this person to this plan; later ones do not count."""
    values = {"run_id": run_id} | {name: getattr(answer, name) for name in Answer.__dataclass_fields__}
    done = await connection.execute(insert(_APPROVAL).values(values).on_conflict_do_nothing())
    return cast("CursorResult[Any]", done).rowcount == 1


def plan_json(plan: Plan) -> dict[str, Any]:
    return cast("dict[str, Any]", clean(asdict(plan)))


async def _mine(connection: AsyncConnection, run: Run, query: Any) -> Run:
    # the owner as well: a claim is no durable commit, so a crash of the database may bring an attempt back
    fence = and_(RUN.c.id == run.id, RUN.c.attempt == run.attempt, RUN.c.owner == run.owner, RUN.c.state == "running")
    return _still(await _one(connection, query.where(fence).returning(RUN)), run)


def _still(found: Run | None, run: Run) -> Run:
    if found is None:
        raise FencedError(f"run {run.id} is in other hands, or has ended")
    return found


async def _one(connection: AsyncConnection, query: ReturningUpdate[Any] | ReturningInsert[Any]) -> Run | None:
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else run_of(row)


async def many(connection: AsyncConnection, query: Any) -> list[Run]:
    return [run_of(row) for row in (await connection.execute(query)).mappings()]
