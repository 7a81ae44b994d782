"""The engine: takes requests in, lets people answer, and works off what the environments of this daemon want."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from actions import Target
from daemon.actions import line, runs
from daemon.actions.asking import understand
from daemon.actions.events import ActionEvent, Happened
from daemon.actions.history import standing
from daemon.actions.ledger import Entry, Subject
from daemon.actions.means import Means
from daemon.actions.metrics import Standing
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.actions.queue import Queue
from daemon.actions.request import Outcome, Request, Result, Source
from daemon.actions.turn import subject_of
from daemon.actions.views import Run, RunState, Submitted, requester_of
from daemon.actions.work import Work
from fleet.errors import StateAwayError

log = structlog.get_logger()

SWEEP_SECONDS = 10.0


class Engine:
    """`owner` names this process. `serve` works until it is cancelled; what runs then is left for others."""

    def __init__(self, means: Means, owner: str) -> None:
        self.means = means
        self.queue = Queue(means.state, self._take)
        self.work = Work(means, owner, self.queue, self.submit)
        self._environments: frozenset[str] = frozenset()
        self._turns: dict[str, asyncio.Task[Run | None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._look = asyncio.Event()
        self.standing = Standing()

    def serve_environments(self, names: Iterable[str]) -> None:
        """From now on act on these, and on what other daemons left of them; what runs elsewhere is handed back."""
        self._environments = frozenset(names)
        self.queue.serve_environments(self._environments)
        for run_id, environment in self.work.places.items():
            if environment not in self._environments and run_id in self._turns:
                self._turns[run_id].cancel()
        self._look.set()

    async def left(self) -> None:
        """Until nothing runs here any more on environments that are not ours: another daemon may take it up."""
        elsewhere = [run_id for run_id, place in self.work.places.items() if place not in self._environments]
        turns = [self._turns[run_id] for run_id in elsewhere if run_id in self._turns]
        if turns:
            await asyncio.wait(turns)

    def look(self) -> None:
        """Sweep at once: something has changed."""
        self._look.set()

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.queue.serve(), name="action queue")
            try:
                await self._sweep_on()
            finally:
                self._group = None

    async def _sweep_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):  # wait_for can lose a cancellation (Python 3.11)
                    await self._look.wait()
            self._look.clear()
            await self.means.state.returned()
            try:
                await self.sweep()
            except StateAwayError:
                continue
            except Exception:  # the boundary of the sweep: the next one may do better
                log.exception("sweep_broke")

    async def sweep(self) -> None:
        """Find what fell between: runs of daemons that ended, waits that are over, questions that nobody answered."""
        here, now = sorted(self._environments), self.means.now()
        async with self.means.state.begin() as connection:
            for run_id, environment in await line.due(connection, here, now):
                if run_id not in self._turns:
                    await self.queue.put(connection, run_id, environment)
            waiting = await line.unanswered(connection, here)
            switch = await self.means.stopped(connection)
            stopped = None if switch is None else switch.stopped
            self.standing = await standing(connection, here, self.means.limits(), stopped)
        for run in waiting:
            if run.state is RunState.WAITING and run.expires_at is not None and run.expires_at <= now:
                await self._end(run, Result.REFUSED, "nobody answered in time")
            elif run.begun_at is None and run.alert is not None and not self.means.world.still_firing(run.alert):
                await self._end(run, Result.CANCELLED, "what asked for it has ended by itself")
        await self.means.ledger.flush()  # last: a file that cannot be read must not hold up what waits

    async def submit(self, request: Request) -> Submitted:
        """See ActionsPort."""
        meant = understand(self.means, request.action, request.environment, request.parameters)
        person = requester_of(request)
        subject = Subject(None, request.environment, request.action, person)
        if person is not None:
            asked = (request.environment, request.action, meant.risk)
            refusal = self.means.operators().refusal(person, "request", *asked)
            if refusal is not None:
                await self.means.ledger.note(Entry.REQUESTED, subject, decision="refused", reason=refusal)
                raise NotAllowedError(refusal)
        try:
            async with self.means.state.begin() as connection:
                made = await self._insert(connection, request, meant.target)
        except StateAwayError as error:
            await self.means.ledger.note(
                Entry.GUARD, subject, decision="refused", ground="state_away", reason=error.message, key=request.key
            )
            raise
        if made.new:
            self._tell(Happened.REQUESTED, made.run, request.reason, again=made.run.key != request.key)
        return made

    async def _insert(self, connection: AsyncConnection, request: Request, target: Target) -> Submitted:
        earlier = await runs.under_key(connection, request.key)
        if earlier:
            # all of them, not the newest: daemons may differ on the time
            if active := [run for run in earlier if run.state is not RunState.ENDED]:
                return Submitted(active[0], False, "it was asked for before, and is under way")
            fixed = [run for run in earlier if run.result is Result.FIXED]
            if fixed or request.source is not Source.ALERT:
                return Submitted((fixed or earlier)[0], False, "it was asked for before, and is done")
            since = self.means.now() - self.means.limits().approval_expires.total_seconds()
            if (person := await runs.declined(connection, earlier[0], since)) is not None:
                return Submitted(earlier[0], False, f"{person} said no to it, so nobody is asked for now")
            request = _again(request, len(earlier) + 1)
        run = await runs.add(connection, uuid.uuid4().hex[:12], request, target)
        if run is None:
            other = await runs.active(connection, request.environment, request.action, target)
            if other is None:  # it has ended in this very moment
                raise NotPossibleError("somebody asked for the same at the same time", hint="ask again")
            return Submitted(other, False, f"{request.action} is under way there already (run {other.id})")
        facts = {"key": run.key, "requested_by": run.requested_by, "reason": run.reason}
        more = {"parameters": run.parameters, "alert": run.alert, "source": run.source.value}
        await self.means.ledger.write(connection, Entry.REQUESTED, subject_of(run, requester_of(run)), **facts, **more)
        await self.queue.put(connection, run.id, run.environment)
        return Submitted(run, True)

    async def _take(self, run_id: str, environment: str) -> None:
        """One turn, in a task of its own: it outlives the queue, which ends when the state database goes away."""
        while (earlier := self._turns.get(run_id)) is not None:  # several may have waited for the same one
            await asyncio.wait([earlier])  # what it was woken for may have come too late for that turn
        if self._group is None or environment not in self._environments:
            raise asyncio.CancelledError  # the daemon stops, or another one looks after it: back into the queue
        work = self._work(run_id, environment)
        task = self._turns[run_id] = self._group.create_task(work, name=f"run {run_id}")
        task.add_done_callback(lambda _: self._turns.pop(run_id, None))
        await asyncio.wait([task])

    async def _work(self, run_id: str, environment: str) -> Run | None:
        try:
            return await self.work.take(run_id, environment)
        except StateAwayError as error:
            log.warning("turn_broken_off", run=run_id, error=error.message)  # the sweep finds it again
        except Exception:  # the boundary of a turn: whatever breaks, the other runs go on
            log.exception("turn_broke", run=run_id)
        return None

    async def _end(self, run: Run, result: Result, reason: str) -> None:
        outcome = Outcome(run.id, result, reason)
        with suppress(runs.FencedError):  # somebody was faster
            async with self.means.state.begin() as connection:
                run = await runs.finish(connection, run, outcome, self.means.now())
                await self.means.ledger.write(
                    connection, Entry.OUTCOME, subject_of(run), result=result.value, reason=reason
                )
            self._tell(Happened.REFUSED if result is Result.REFUSED else Happened.DONE, run, reason, result)

    def _tell(
        self, kind: Happened, run: Run, text: str = "", result: Result | None = None, *, again: bool = False
    ) -> None:
        self.means.world.emit(ActionEvent(kind, run, self.means.now(), text, {}, result, again))

    def running(self) -> Sequence[str]:
        """Ids of the runs in the hands of this process."""
        return list(self._turns)


def _again(request: Request, number: int) -> Request:
    return replace(request, key=f"{request.key}#{number}")
