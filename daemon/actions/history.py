"""What was done before and is done now: for decisions, and for people to see."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.guard import Ended, History, Limits, Running, breaker_open
from daemon.actions.metrics import Standing
from daemon.actions.request import Result
from daemon.actions.runs import RUN
from daemon.actions.views import Run
from daemon.state.models import Moment

HOUR = 3600.0
_LATELY = 500  # runs of which the breakers are shown
_REMEMBERED = 20  # earlier runs that a decision looks at
_DECIDING = 0x43555354  # of pg_advisory_xact_lock: decisions are made one at a time, or limits would not hold


async def decide_alone(connection: AsyncConnection) -> None:
    """Until the end of this transaction no other decides: what is counted now is so when the run begins."""
    await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _DECIDING})


async def history(connection: AsyncConnection, run: Run, now: float) -> History:
    """What a decision about a run rests on."""
    columns = (RUN.c[name] for name in ("id", "environment", "action", "object", "databases", "store"))
    # what is paused, or waits to try a step again, asks once more for its place
    begun = and_(RUN.c.state == "running", RUN.c.begun_at.is_not(None), RUN.c.ground.is_(None), RUN.c.id != run.id)
    running = [
        Running(row.id, row.environment, row.action, row.object, _databases(row.databases), row.store)
        for row in await connection.execute(select(*columns).where(begun))
    ]
    same = [RUN.c[name] == getattr(run, name) for name in ("environment", "action", "object")]
    earlier = (
        select(RUN.c.id, RUN.c.result, RUN.c.ended_at)
        .where(*same, RUN.c.state == "ended", RUN.c.begun_at.is_not(None))
        .order_by(RUN.c.ended_at.desc())
        .limit(_REMEMBERED)
    )
    ended = [Ended(row.id, Result(row.result), row.ended_at) for row in await connection.execute(earlier)]
    here = func.count().filter(RUN.c.environment == run.environment)
    recent = and_(RUN.c.begun_at > now - HOUR, RUN.c.id != run.id)
    begun_here, begun_fleet = (await connection.execute(select(here, func.count()).where(recent))).one()
    return History(running, ended, begun_here, begun_fleet)


async def standing(
    connection: AsyncConnection, environments: Sequence[str], limits: Limits, stopped: bool | None
) -> Standing:
    """How it stands with the actions on these environments."""
    query = (
        select(RUN.c.environment, RUN.c.state, func.count(), func.min(RUN.c.requested_at, type_=Moment()))
        .where(RUN.c.environment.in_(environments), RUN.c.state != "ended")
        .group_by(RUN.c.environment, RUN.c.state)
    )
    rows = [tuple(row) for row in await connection.execute(query)]
    return Standing(
        {(environment, state): count for environment, state, count, _ in rows},
        {environment: since for environment, state, _, since in rows if state == "waiting"},
        await _breakers(connection, environments, limits),
        stopped,
    )


async def _breakers(
    connection: AsyncConnection, environments: Sequence[str], limits: Limits
) -> dict[tuple[str, str], bool]:
    """Whether an action is left to people, for any of its objects, among those that ran lately."""
    columns = (RUN.c[name] for name in ("environment", "action", "object", "id", "result", "ended_at", "begun_at"))
    latest = select(*columns).where(RUN.c.state == "ended").order_by(RUN.c.ended_at.desc()).limit(_LATELY)
    ended: dict[tuple[str, str, str], list[Ended]] = {}
    for row in await connection.execute(latest):
        if row.begun_at is not None and row.environment in environments:
            place = (row.environment, row.action, row.object)
            ended.setdefault(place, []).append(Ended(row.id, Result(row.result), row.ended_at))
    found: dict[tuple[str, str], bool] = {}
    for (environment, action, _), past in ended.items():
        found[environment, action] = found.get((environment, action), False) or breaker_open(past, limits)
    return found


def _databases(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
