"""Verify: the action's own verdict, then the alert's: what asked must have stopped asking."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from actions import Verdict
from daemon.actions.ledger import Entry
from daemon.actions.request import Result
from daemon.actions.stages._apply import PASSING, describe, patiently
from daemon.actions.turn import Stop, Turn, ended
from fleet.errors import CustodeError

log = structlog.get_logger()

VERIFY_SECONDS = 1800.0
_PAUSES = (1.0, 3.0)  # seconds, before it is tried once more
_EXPECTED = (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


async def verify(turn: Turn) -> Stop | None:
    try:
        async with asyncio.timeout(VERIFY_SECONDS):
            verdict = await _insist(turn)
    except Exception as error:  # the boundary of an action: what is done stays done, whatever its check makes of it
        if not isinstance(error, _EXPECTED):
            log.exception("verify_broke", action=turn.run.action, run=turn.run.id)
        verdict = Verdict(False, f"whether it helped is unknown: {describe(error)}")

    async def record() -> None:
        async with turn.means.state.begin() as connection:
            facts = {"fixed": verdict.fixed, "reason": verdict.reason}
            await turn.record(connection, Entry.VERDICT, **facts, before=turn.plan.figures, after=verdict.figures)

    await patiently(turn, record)
    return ended(turn, Result.FIXED if verdict.fixed else Result.NOT_FIXED, verdict.reason, verdict.figures)


async def _insist(turn: Turn) -> Verdict:
    """What only could not be read for a moment is no verdict."""
    for pause in _PAUSES:
        try:
            return await _verdict(turn)
        except PASSING as error:
            log.warning("verify_tried_again", run=turn.run.id, action=turn.run.action, error=describe(error))
            await asyncio.sleep(pause)
    return await _verdict(turn)


async def _verdict(turn: Turn) -> Verdict:
    verdict = (
        await turn.action.verify(turn.job, turn.parameters, turn.plan)
        if turn.plan.steps
        else Verdict(True, f"nothing had to be done: {turn.plan.summary}", turn.plan.figures)
    )
    await turn.means.world.reread(turn.run.environment, turn.action.subjects)
    alert = turn.run.alert
    if verdict.fixed and alert is not None and turn.means.world.still_firing(alert):
        name = alert.get("alertname", "the alert")
        return Verdict(False, f"{verdict.reason}; but {name} is still firing", verdict.figures)
    return verdict
