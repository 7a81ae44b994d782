"""Guard: whether it may be done. Asked first of all, and again, alone, in the moment in which it begins."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions import runs
from daemon.actions.events import Happened
from daemon.actions.guard import Allowed, Decision, Ground, Refused, Situation, Wait, decide, in_the_way
from daemon.actions.history import decide_alone, history
from daemon.actions.ledger import Entry
from daemon.actions.turn import Parked, Stop, Turn, cancelled, ended
from daemon.actions.views import StopSwitch, requester_of
from fleet.policy import Consent


async def guard(turn: Turn) -> Stop | None:
    """Whether it is worth to be planned. What only has to wait for its hour, or for people, is planned meanwhile."""
    if turn.run.begun_at is not None:
        return None if turn.run.ground is None else await _rejoin(turn)
    asks = turn.environment.policy.consent.of(turn.meant.risk, turn.run.action) is not Consent.AUTO
    unasked = asks and turn.run.expires_at is None
    async with turn.means.state.begin() as connection:
        decision = await judge(turn, connection)
        if isinstance(decision, Wait) and (unasked or decision.ground is Ground.OUTSIDE_WINDOW):
            return None
        return await _heed(turn, connection, decision)


async def _rejoin(turn: Turn) -> Stop | None:
    """What was paused, or waits to try again, holds no place meanwhile: others may be in its way by now."""
    async with turn.means.state.begin(durable=False) as connection:
        await decide_alone(connection)
        situation = await _situation(turn, connection)
        past = situation.history
        if (stopped := until_released(situation.switch)) is not None:
            return stopped
        wait = None if past is None else next(in_the_way(turn.case, past, situation), None)
        if wait is not None:
            return Parked(wait.ground.value, wait.reason, wait.until, wait.behind)
        turn.run = await runs.write(connection, turn.run, ground=None, parked=None)
    return None


def until_released(switch: StopSwitch | None) -> Parked | None:
    """What has begun is not refused while all actions are stopped: it waits."""
    if switch is not None and not switch.stopped:
        return None
    by = f" by {switch.by}" if switch is not None and switch.by else ""
    return Parked("stopped", f"all actions are stopped{by}; it goes on once they are released")


async def begin(turn: Turn) -> Stop | None:
    """The last word: nobody else decides in this moment, so what is counted stays true."""
    if turn.run.begun_at is not None or not turn.plan.steps:
        return None
    # the first step's begin waits for the disk, and for this before it
    async with turn.means.state.begin(durable=False) as connection:
        await decide_alone(connection)
        if (by_hand := await cancelled(turn, connection)) is not None:
            return by_hand
        decision = await judge(turn, connection, disk_needed=turn.plan.disk_bytes)
        if not isinstance(decision, Allowed):
            return await _heed(turn, connection, decision)
        turn.run = await runs.write(connection, turn.run, begun_at=turn.means.now(), ground=None, parked=None)
        turn.job = replace(turn.job, started_at=turn.run.begun_at or turn.job.started_at)  # as later attempts see it
        await turn.record(connection, Entry.GUARD, decision="allowed", consent=decision.consent.value)
    turn.tell(Happened.BEGUN, turn.plan.summary)
    return None


async def judge(turn: Turn, connection: AsyncConnection, disk_needed: float = 0.0) -> Decision:
    return decide(turn.case, await _situation(turn, connection, disk_needed))


async def _situation(turn: Turn, connection: AsyncConnection, disk_needed: float = 0.0) -> Situation:
    means, run = turn.means, turn.run
    switch = await means.stopped(connection)
    now = means.now()
    disk = await means.world.disk(run.environment) if disk_needed else None
    refusal = None
    if (person := requester_of(run)) is not None:
        refusal = means.operators().refusal(person, "request", run.environment, run.action, turn.meant.risk)
    return Situation(
        policy=turn.environment.policy,
        limits=means.limits(),
        now=now,
        history=await history(connection, run, now),
        switch=switch,
        operator_refusal=refusal,
        conflicts=means.conflicts(),
        disk_free=disk.free if disk else None,
        disk_total=disk.total if disk else None,
        disk_needed=disk_needed,
        alert_active=None if run.alert is None else means.world.still_firing(run.alert),
    )


async def _heed(turn: Turn, connection: AsyncConnection, decision: Decision) -> Stop | None:
    match decision:
        case Allowed():
            return None
        case Wait(ground=ground, reason=reason, until=until, behind=behind):
            return Parked(ground.value, reason, until, behind)
        case Refused(ground=ground, reason=reason):
            await turn.record(connection, Entry.GUARD, decision="refused", ground=ground.value, reason=reason)
            return ended(turn, decision.result, reason)
        case _:
            assert_never(decision)
