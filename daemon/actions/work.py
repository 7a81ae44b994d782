"""Works one turn of a run: claims it, takes it through the stages, keeps it alive, and puts on record how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import asyncpg
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions import line, runs
from daemon.actions.asking import understand
from daemon.actions.events import ActionEvent, Happened
from daemon.actions.guard import breaker_open
from daemon.actions.history import history
from daemon.actions.ledger import Entry
from daemon.actions.means import Means
from daemon.actions.others import Submit, ended_among, follow_up
from daemon.actions.port import NotPossibleError
from daemon.actions.queue import Queue
from daemon.actions.request import Outcome, Result
from daemon.actions.runs import FencedError
from daemon.actions.stages import STAGES
from daemon.actions.stages._apply import FIRST_BACKOFF, PASSING, describe, patiently
from daemon.actions.takeover import end_sessions
from daemon.actions.turn import Asked, Ended, Parked, Stop, Turn, by_hand, cancelled, ended, subject_of
from daemon.actions.views import Run
from fleet.errors import ActionError, CustodeError, StateAwayError

log = structlog.get_logger()

PULSE_SECONDS = 1.0
UNDO_SECONDS = 300.0
MOST_DEATHS = 5
_BAD = (Result.FAILED, Result.NOT_FIXED)


@dataclass(slots=True)
class Work:
    """`owner` names this process; `submit` takes what a run asks for."""

    means: Means
    owner: str
    queue: Queue
    submit: Submit
    places: dict[str, str] = field(default_factory=dict)  # run id: environment, of all turns under way

    async def take(self, run_id: str, environment: str) -> Run | None:
        """One turn of a run on `environment`. Whatever goes wrong is how it ends, not an exception; None where there
        was nothing to do.

        Raises:
            StateAwayError: the state database went away; the run waits there for its next turn.
            asyncio.CancelledError: the daemon stops; the run is free for others.
        """
        self.places[run_id] = environment
        try:
            return await self._take(run_id)
        finally:
            del self.places[run_id]

    async def _take(self, run_id: str) -> Run | None:
        async with self.means.state.begin(durable=False) as connection:
            run = await runs.claim(connection, run_id, self.owner, self.means.now())
            if run is None:
                return None
            # what was parked or paused, nobody had
            taken_over = run.attempt > 1 and run.begun_at is not None and run.ground is None
            if taken_over:
                facts = {"attempt": run.attempt, "owner": self.owner, "deaths": run.deaths}
                await self.means.ledger.write(connection, Entry.TAKEN_OVER, subject_of(run), **facts)
        turn = self._turn(run)
        if isinstance(turn, Outcome):
            return await self._finish_without(run, turn)
        if taken_over:
            turn.tell(Happened.TAKEN_OVER)
        try:
            stop = await self._attend(turn)
            return await self._settle(turn, stop)
        except FencedError as error:
            log.warning("run_lost", run=run.id, environment=run.environment, action=run.action, error=error.message)
            return None
        except asyncio.CancelledError:
            await self._hand_back(turn)
            raise

    def _turn(self, run: Run) -> Turn | Outcome:
        try:
            meant = understand(self.means, run.action, run.environment, run.parameters)
        except NotPossibleError as error:  # it was possible when it was asked for
            return Outcome(run.id, Result.REFUSED, error.message)

        def progress(ratio: float, doing: str) -> None:
            turn.ratio, turn.doing = ratio, doing

        async def may_change() -> None:
            if not turn.applying:
                raise ActionError("nothing may be changed now: only a step may, and what undoes it")
            async with self.means.state.begin() as connection:
                await runs.write(connection, turn.run, owner=self.owner)

        async def ask(action: str, parameters: Mapping[str, Any], reason: str) -> str:
            await may_change()
            request = follow_up(turn.run, action, parameters, reason, self.means.now())
            return (await self.submit(request)).run.id

        job = self.means.world.job(run, meant.environment, progress, may_change)
        job = replace(job, ask=ask, ended=partial(ended_among, self.means.state))
        turn = Turn(run, meant, job, self.means)
        return turn

    async def _attend(self, turn: Turn) -> Stop:
        """Through the stages, with a pulse beside them that sees when the run is not ours any more, or not wanted."""
        async with asyncio.TaskGroup() as group:
            work = group.create_task(self._stages(turn), name=f"{turn.run.action} on {turn.run.environment}")
            pulse = group.create_task(self._pulse(turn, work), name=f"pulse of {turn.run.id}")
            await asyncio.wait([work])
            pulse.cancel()
        if not work.cancelled() and (stop := work.result()) is not None:
            return stop
        if turn.interrupted == "cancel":
            return by_hand(turn, turn.run)
        raise FencedError(f"run {turn.run.id} is in other hands")

    async def _stages(self, turn: Turn) -> Stop | None:
        """How the turn ends; None where the run is in other hands."""
        run = turn.run
        if run.deaths >= MOST_DEATHS:
            return ended(turn, Result.FAILED, f"the daemon ended {run.deaths} times in the middle of it")
        try:
            if run.begun_at is not None and run.attempt > 1:
                too_old, waits = self._too_old(turn), await self._alone(turn)  # who takes it back must be alone, too
                if (stop := too_old or waits) is not None:
                    return stop
            if run.asked == "cancel":
                return by_hand(turn, run)
            for stage in STAGES:
                # it may be done again: it looks at what is on record
                found = await patiently(turn, partial(stage, turn))
                if found is not None:
                    return found
        except FencedError:
            return None
        except Exception as error:  # the boundary of an action: its bug is its outcome, not the daemon's end
            if not isinstance(error, (CustodeError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                log.exception("action_broke", action=run.action, environment=run.environment, run=run.id)
            return ended(turn, Result.FAILED, describe(error))
        raise AssertionError("the last stage ends every run")

    async def _alone(self, turn: Turn) -> Parked | None:
        """Nobody else may still be at it; where that cannot be seen to, later."""
        try:
            await end_sessions(turn.job)
        except PASSING as error:
            return Parked("retry", f"taking it over: {describe(error)}", self.means.now() + FIRST_BACKOFF)
        return None

    def _too_old(self, turn: Turn) -> Ended | None:
        left = turn.run.progress.at if turn.run.progress is not None else turn.run.begun_at or 0.0
        age = self.means.now() - left
        if age > self.means.limits().continue_within.total_seconds():
            return ended(
                turn, Result.FAILED, f"it was left in the middle {age / 60:.0f} minutes ago: too long to go on"
            )
        return None

    async def _pulse(self, turn: Turn, work: asyncio.Task[Stop | None]) -> None:
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            with suppress(StateAwayError):  # then nobody else can take it over either
                try:
                    async with self.means.state.begin(durable=False) as connection:
                        fresh = await runs.write(connection, turn.run, progress=self._progress(turn))
                except FencedError:
                    turn.interrupted = "fenced"
                    work.cancel()
                    return
                if fresh.asked == "cancel":
                    turn.interrupted, turn.run = "cancel", fresh
                    work.cancel()
                    return

    def _progress(self, turn: Turn) -> dict[str, object]:
        now = self.means.now()
        spent, ratio = now - turn.step_begun, turn.ratio
        left = spent * (1 - ratio) / ratio if turn.step_begun and 0.02 < ratio < 1 else None
        return {"ratio": ratio, "doing": turn.doing, "at": now, "left_seconds": left}

    async def _settle(self, turn: Turn, stop: Stop) -> Run:
        # what was parked before holds no place: two of them must not call each other for ever
        held = turn.run.begun_at is not None and not (isinstance(stop, Parked) and turn.run.ground is not None)
        match stop:
            case Asked():
                pass
            case Parked():
                await patiently(turn, lambda: self._park(turn, stop))
                await patiently(turn, lambda: self._look_again(turn.run, stop))
            case Ended(outcome=outcome):
                await self._undo(turn, outcome)
                await patiently(turn, lambda: self._end(turn, outcome))
        if held:
            await patiently(turn, lambda: self._make_room(turn.run.environment))
        return turn.run

    async def _park(self, turn: Turn, stop: Parked) -> Run:
        known, now = turn.run.ground, self.means.now()
        async with self.means.state.begin() as connection:
            if await cancelled(turn, connection) is not None:
                stop = replace(stop, until=now)
            turn.run = await runs.park(connection, turn.run, stop, now)
            if stop.until is not None:
                delay = max(stop.until - now, 0.0)
                await self.queue.put(connection, turn.run.id, turn.run.environment, delay=delay)
            if known != stop.ground:
                facts = {"decision": "waits", "ground": stop.ground, "reason": stop.reason, "until": stop.until}
                await turn.record(connection, Entry.GUARD, **facts)
        if known != stop.ground:
            turn.tell(Happened.PARKED, stop.reason)
        return turn.run

    async def _undo(self, turn: Turn, outcome: Outcome) -> None:
        """Take back what a run left that did not come to its end, unless that ends the daemon again and again."""
        run = turn.run
        if run.begun_at is None or run.deaths >= MOST_DEATHS or outcome.result not in (Result.FAILED, Result.CANCELLED):
            return
        turn.applying, error = True, None
        job = replace(turn.job, cancelled=outcome.result is Result.CANCELLED)
        try:
            async with asyncio.timeout(UNDO_SECONDS):
                await turn.action.undo(job, turn.parameters, turn.plan)
        except FencedError:
            raise
        except Exception as caught:  # noqa: BLE001 - the boundary of an action: what is left is told to people
            error = describe(caught)
            log.warning("undo_failed", run=run.id, action=run.action, environment=run.environment, error=error)
        finally:
            turn.applying = False
            await turn.job.changes.close()

        async def record() -> None:
            async with self.means.state.begin() as connection:
                await turn.record(connection, Entry.UNDO, error=error)

        await patiently(turn, record)

    async def _end(self, turn: Turn, outcome: Outcome) -> Run:
        async with self.means.state.begin() as connection:
            turn.run = await runs.finish(connection, turn.run, outcome, self.means.now())
            facts = {"result": outcome.result.value, "reason": outcome.reason, "seconds": outcome.seconds}
            await turn.record(connection, Entry.OUTCOME, **facts, before=outcome.before, after=outcome.after)
            opened = await self._breaker(turn, connection, outcome)
            again = await runs.refused_again(connection, turn.run)
        kind = Happened.REFUSED if outcome.result is Result.REFUSED else Happened.DONE
        turn.tell(kind, outcome.reason, {**outcome.after, "seconds": outcome.seconds}, outcome.result, again=again)
        if opened:
            turn.tell(Happened.ESCALATED, f"{outcome.reason}; it is not tried again before a person has looked")
        return turn.run

    async def _look_again(self, run: Run, stop: Parked) -> None:
        """What it waits for may have ended before it was parked. Asked once that is so: else each misses the other."""
        if not stop.behind:
            return
        async with self.means.state.begin(durable=False) as connection:
            if await runs.ended_among(connection, stop.behind):
                await self.queue.put(connection, run.id, run.environment)

    async def _make_room(self, environment: str) -> None:
        """Others may have waited for the place of one that ran there. Asked once it is free, as in `_look_again`."""
        async with self.means.state.begin(durable=False) as connection:
            next_here = await line.next_in_line(connection, [environment], self.means.now())
            for run_id, place in {*next_here, *await line.held_by_limit(connection)}:
                await self.queue.put(connection, run_id, place)

    async def _breaker(self, turn: Turn, connection: AsyncConnection, outcome: Outcome) -> bool:
        """Whether this outcome was the one too many."""
        if turn.run.begun_at is None or outcome.result not in _BAD:
            return False
        limits, past = self.means.limits(), await history(connection, turn.run, self.means.now())
        opened, before = (breaker_open(ended_runs, limits) for ended_runs in (past.ended, past.ended[1:]))
        if opened and not before:
            await turn.record(connection, Entry.ESCALATED, reason=outcome.reason)
        return opened and not before

    async def _finish_without(self, run: Run, outcome: Outcome) -> Run:
        async with self.means.state.begin() as connection:
            run = await runs.finish(connection, run, outcome, self.means.now())
            facts = {"result": outcome.result.value, "reason": outcome.reason}
            await self.means.ledger.write(connection, Entry.OUTCOME, subject_of(run), **facts)
        event = ActionEvent(Happened.REFUSED, run, self.means.now(), outcome.reason, {}, outcome.result)
        self.means.world.emit(event)
        await self._make_room(run.environment)
        return run

    async def _hand_back(self, turn: Turn) -> None:
        """The daemon stops: the next one goes on, at once."""

        async def release() -> None:
            with suppress(StateAwayError, FencedError):
                async with self.means.state.begin() as connection:
                    await runs.write(connection, turn.run, state="queued", owner=None)
                    await self.queue.put(connection, turn.run.id, turn.run.environment)

        await asyncio.shield(release())
