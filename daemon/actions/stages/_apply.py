"""Apply: the steps of the plan, each on record before it begins and when it has ended. What is finished stays so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from actions import Step
from daemon.actions import runs
from daemon.actions.events import Happened
from daemon.actions.ledger import Entry, clean
from daemon.actions.request import Result
from daemon.actions.stages._guard import until_released
from daemon.actions.turn import Asked, Parked, Stop, Turn, by_hand, ended
from fleet.backups.scrub import scrub
from fleet.errors import ConnectError, CustodeError, StateAwayError

log = structlog.get_logger()

AWAY_PAUSE = 0.2
FIRST_BACKOFF, LONGEST_BACKOFF = 5.0, 300.0  # seconds between two tries of a step
# what may be otherwise the next time
PASSING = (
    ConnectError,
    StateAwayError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what it says of a session that the server has ended a moment ago
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    OSError,  # and with it TimeoutError
)
T = TypeVar("T")


async def apply(turn: Turn) -> Stop | None:
    steps = turn.action.steps(turn.job, turn.parameters, turn.plan)
    finished = await _finished(turn)
    for number, step in enumerate(steps if turn.plan.steps else (), 1):
        if number not in finished and (stop := await _step(turn, number, step)) is not None:
            return stop
    return None


async def _finished(turn: Turn) -> set[int]:
    if turn.run.attempt == 1 and turn.run.step is None:  # nobody was here before
        return set()
    async with turn.means.state.begin() as connection:
        return await runs.finished_steps(connection, turn.run)


async def _step(turn: Turn, number: int, step: Step) -> Stop | None:
    turn.ratio, turn.doing, turn.step_begun = 0.0, "", turn.means.now()
    async with turn.means.state.begin() as connection:
        held_up = await _held_up(turn, connection, step.name)
        if held_up is not None:
            return held_up
        tries = await runs.begin_step(connection, turn.run, number, step.name, turn.step_begun)
        await turn.record(connection, Entry.STEP, name=step.name, state="begun", attempt=turn.run.attempt, tries=tries)
    turn.applying = True
    try:
        async with asyncio.timeout(step.timeout.total_seconds()):
            figures = await step.run()
    except Exception as error:  # noqa: BLE001 - the boundary of an action: whatever a step raises is how it ended
        return await _failed(turn, number, step, tries, error)
    finally:
        turn.applying = False
        await turn.job.changes.close()  # nobody asks a session that is open whether it may still change something

    async def finish() -> None:
        at = turn.means.now()
        async with turn.means.state.begin() as connection:
            turn.run = await runs.write(connection, turn.run, data=clean(turn.job.data))
            await runs.end_step(connection, turn.run, number, at, figures=figures)
            seconds = at - turn.step_begun
            await turn.record(
                connection, Entry.STEP, name=step.name, state="finished", figures=figures, seconds=seconds
            )

    await patiently(turn, finish)
    turn.tell(Happened.STEP, step.name, figures)
    return None


async def patiently(turn: Turn, work: Callable[[], Awaitable[T]]) -> T:
    """Done once the state database is there, such as to put on record what was done; to be repeated until then."""
    tries, where = 0, {"run": turn.run.id, "environment": turn.run.environment}
    while True:
        try:
            done = await work()
        except StateAwayError as error:
            if tries == 0:
                log.warning("turn_waits_for_state", error=error.message, **where)
            tries += 1
            await asyncio.sleep(AWAY_PAUSE)  # it may be there, and have no room for one more session
            await turn.means.state.returned()
        else:
            if tries:
                log.info("turn_goes_on", tries=tries, **where)
            return done


async def _held_up(turn: Turn, connection: AsyncConnection, step: str) -> Stop | None:
    """Between two steps: the stop switch, and whoever asked for a pause. What is ours goes on to `step`."""
    if (stopped := until_released(await turn.means.stopped(connection))) is not None:
        return stopped
    turn.run = await runs.write(connection, turn.run, step=step, ground=None, parked=None)
    if turn.run.asked == "cancel":
        return by_hand(turn, turn.run)
    if turn.run.asked != "pause":
        return None
    reason = f"paused by {turn.run.asked_by}"
    turn.run = await runs.write(connection, turn.run, state="paused", ground="paused", parked=reason, asked=None)
    return Asked()


async def _failed(turn: Turn, number: int, step: Step, tries: int, error: Exception) -> Stop:
    said = describe(error)
    again = isinstance(error, PASSING) and tries < step.tries
    if not isinstance(error, (CustodeError, asyncpg.PostgresError, *PASSING)):
        log.error("step_broke", run=turn.run.id, action=turn.run.action, step=step.name, exc_info=error)

    async def note() -> None:
        async with turn.means.state.begin() as connection:
            turn.run = await runs.write(connection, turn.run, step=step.name)
            at = turn.means.now()
            await runs.end_step(connection, turn.run, number, at, error=said)
            await turn.record(connection, Entry.STEP, name=step.name, state="failed", error=said, again=again)

    await patiently(turn, note)
    if not again:
        return ended(turn, Result.FAILED, f"{step.name}: {said}")
    wait = min(FIRST_BACKOFF * 2 ** (tries - 1), LONGEST_BACKOFF)
    reason = f"{step.name} failed ({said}); try {tries + 1} of {step.tries} in {wait:.0f} s"
    return Parked("retry", reason, turn.means.now() + wait)


def describe(error: BaseException) -> str:
    """An error in words for people, without secrets."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it was not finished in time"
    said = str(error) or type(error).__name__
    hint = getattr(error, "hint", None)
    return scrub(f"{said} ({hint})" if hint else said)
