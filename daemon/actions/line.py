"""Who wants a turn: runs that wait for others, for their time, or for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.guard import Ground
from daemon.actions.runs import RUN, many
from daemon.actions.views import Run

_GROUNDS = ["", "retry", "paused", "resumed", *Ground]  # with which a run may be queued
_NEXT = text("""
    select run.id, run.environment
    from unnest(cast(:environments as text[])) as place
    cross join unnest(cast(:grounds as text[])) as waits
    cross join lateral (
        select id, environment from action_run
        where state = 'queued' and environment = place and coalesce(ground, '') = waits
            and (not_before is null or not_before <= :now)
        order by requested_at limit 1
    ) as run
""")
_HELD = text("""
    select run.id, run.environment
    from unnest(cast(:grounds as text[])) as waits
    cross join lateral (
        select id, environment from action_run where state = 'queued' and ground = waits order by requested_at limit 1
    ) as run
""")


async def due(connection: AsyncConnection, environments: Sequence[str], now: float) -> list[tuple[str, str]]:
    """Id and environment of runs that may want a turn: all that are in somebody's hands, and the next in line."""
    here = RUN.c.environment.in_(environments)
    taken = await connection.execute(select(RUN.c.id, RUN.c.environment).where(here, RUN.c.state == "running"))
    return [(row.id, row.environment) for row in taken] + await next_in_line(connection, environments, now)


async def next_in_line(connection: AsyncConnection, environments: Sequence[str], now: float) -> list[tuple[str, str]]:
    """Of those that wait for nothing but others, the oldest of each environment and ground: what holds up one kind
    need not hold up another.
    """
    asked = {"environments": list(environments), "grounds": _GROUNDS, "now": datetime.fromtimestamp(now, UTC)}
    return [(row.id, row.environment) for row in await connection.execute(_NEXT, asked)]


async def held_by_limit(connection: AsyncConnection) -> list[tuple[str, str]]:
    """The oldest run that waits for room in the fleet, and the oldest that waits for room at a store."""
    grounds = [Ground.FLEET_BUSY.value, Ground.STORE_BUSY.value]
    return [(row.id, row.environment) for row in await connection.execute(_HELD, {"grounds": grounds})]


async def unanswered(connection: AsyncConnection, environments: Sequence[str]) -> list[Run]:
    """Runs that wait, for people or for their time."""
    states = RUN.c.state.in_(("waiting", "queued"))
    asked = or_(RUN.c.alert.is_not(None), RUN.c.expires_at.is_not(None))
    query = select(RUN).where(RUN.c.environment.in_(environments), states, asked).limit(1000)
    return await many(connection, query)
