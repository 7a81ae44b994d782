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

# one question: it is asked twice on the way to every run. What is paused, or waits to try again, asks once more for its
# place and does not hold one
_HISTORY = text("""
    select
        (select coalesce(json_agg(json_build_array(id, environment, action, object, databases, store)), '[]')
            from action_run
            where state = 'running' and begun_at is not null and ground is null and id <> :id) as running,
        (select coalesce(json_agg(json_build_array(id, result, extract(epoch from ended_at)) order by ended_at desc),
                '[]')
            from (select id, result, ended_at from action_run
                where environment = :environment and action = :action and object = :object
                    and state = 'ended' and begun_at is not null
                order by ended_at desc limit :most) as earlier) as ended,
        count(*) filter (where environment = :environment) as begun_here,
        count(*) as begun_fleet
    from action_run where begun_at > to_timestamp(:since)
""")


async def decide_alone(connection: AsyncConnection) -> None:
    """Until the end of this transaction no other decides: what is counted now is so when the run begins."""
    await connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _DECIDING})


async def history(connection: AsyncConnection, run: Run, now: float) -> History:
    """What a decision about a run rests on."""
    about = {name: getattr(run, name) for name in ("id", "environment", "action", "object")}
    row = (await connection.execute(_HISTORY, about | {"most": _REMEMBERED, "since": now - HOUR})).one()
    running = [
        Running(run_id, environment, action, target, _databases(databases), store)
        for run_id, environment, action, target, databases, store in row.running
    ]
    ended = [Ended(run_id, Result(result), at) for run_id, result, at in row.ended]
    return History(running, ended, row.begun_here, row.begun_fleet)


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
    columns = (RUN.c[name] for name in ("environment", "action", "object", "id", "result", "ended_at"))
    begun = and_(RUN.c.state == "ended", RUN.c.begun_at.is_not(None))  # what was refused changes no breaker
    latest = select(*columns).where(begun).order_by(RUN.c.ended_at.desc()).limit(_LATELY)
    ended: dict[tuple[str, str, str], list[Ended]] = {}
    for row in await connection.execute(latest):
        if row.environment in environments:
            place = (row.environment, row.action, row.object)
            ended.setdefault(place, []).append(Ended(row.id, Result(row.result), row.ended_at))
    found: dict[tuple[str, str], bool] = {}
    for (environment, action, _), past in ended.items():
        found[environment, action] = found.get((environment, action), False) or breaker_open(past, limits)
    return found


def _databases(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
