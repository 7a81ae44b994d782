"""The way of every action: request, guard, plan, apply step by step, verify, record, report."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from actions import Action, Plan, Verdict
from daemon.actions.events import ActionEvent, Happened
from daemon.actions.guard import Ground, Limits, Refused, Situation, decide
from daemon.actions.ledger import Entry, Ledger
from daemon.actions.request import Outcome, Request, Result
from daemon.actions.run import Means, Run, World
from fleet.backups.scrub import scrub
from fleet.errors import CustodeError, DaemonError

log = structlog.get_logger()

STOP_FILE = "stop-actions"
_EXPECTED = (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


@dataclass
class Pipeline:
    """Runs actions: one at a time on an environment, `limits.at_once` in all.

    `counter` has the labels action and outcome; `data_dir` is where the stop switch, a file `stop-actions`, would be;
    `now` gives unix seconds. `serve` works off what `submit` queued, until it is cancelled; what is running then is
    recorded as interrupted.
    """

    world: World
    actions: Mapping[str, Action[Any]]
    ledger: Ledger
    data_dir: Path
    counter: Counter
    now: Callable[[], float]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._queue: asyncio.Queue[Request] = asyncio.Queue(self.limits.queue)
        self._slots = asyncio.Semaphore(self.limits.at_once)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._active: dict[tuple[str, str], Run] = {}
        self._last_refusal: dict[tuple[str, str], tuple[str, Ground]] = {}
        for name in self.actions:
            for result in Result:
                self.counter.labels(name, result.value)

    def submit(self, request: Request) -> None:
        """Queue a request; one too many is refused at once."""
        try:
            self._queue.put_nowait(request)
        except asyncio.QueueFull:
            run = Run(uuid.uuid4().hex[:12], request, self.now())
            self._tell_end(run, Outcome(run.id, Result.REFUSED, "too many requests are waiting"))

    async def serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                request = await self._queue.get()
                group.create_task(self.run(request), name=f"{request.action} on {request.environment}")

    async def recover(self) -> None:
        """Record as interrupted what the last process left unfinished. It may be asked for again."""
        for run_id in self.ledger.unfinished():
            request = await asyncio.to_thread(self.ledger.request_of, run_id)
            outcome = Outcome(run_id, Result.INTERRUPTED, "the daemon ended in the middle of it")
            if request is not None:
                await self._end(Run(run_id, request, self.now()), outcome)

    def running(self) -> list[Run]:
        """What is under way or waits for its turn, for people to see."""
        return list(self._active.values())

    async def run(self, request: Request) -> Outcome:
        """Take one request all the way; whatever goes wrong is an outcome, not an exception."""
        run = Run(uuid.uuid4().hex[:12], request, self.now())
        place = (request.environment, request.action)
        checked = self._check(run)
        if isinstance(checked, Refused):
            return await self._refuse(run, checked)
        # no await since the check: a second request sees this one
        self._active[place] = run
        self._last_refusal.pop(place, None)
        try:
            outcome = await self._carry_out(run)
        except asyncio.CancelledError:
            await self._end(run, Outcome(run.id, Result.INTERRUPTED, f"the daemon stopped, at {run.step}"))
            raise
        else:
            await self._end(run, outcome)
            return outcome
        finally:
            del self._active[place]

    def _check(self, run: Run) -> Means | Refused:
        """Everything that can be known without looking at the environment."""
        request = run.request
        action = self.actions.get(request.action)
        if action is None:
            return Refused(Ground.UNKNOWN, f"there is no action {request.action!r}")
        job = self.world.job(request.environment, run.id, run.since, run.progress)
        if job is None:
            return Refused(Ground.UNKNOWN, f"there is no environment {request.environment!r}")
        try:
            parameters = action.parameters().model_validate(dict(request.parameters))
        except ValidationError as error:
            first = error.errors()[0]
            return Refused(Ground.INVALID, f"parameter {'.'.join(map(str, first['loc']))}: {first['msg']}")
        other = self._active.get((request.environment, request.action), run)
        if other is not run:
            return Refused(Ground.RUNNING, f"{request.action} is already under way there (run {other.id})")
        history = self.ledger.history(request.environment, request.action)
        situation = Situation(job.environment.policy, history, self.now(), self._stopped(), self.limits)
        decision = decide(request, action.risk, situation)
        return decision if isinstance(decision, Refused) else Means(action, job, parameters)

    def _stopped(self) -> bool | None:
        try:
            (self.data_dir / STOP_FILE).stat()
        except FileNotFoundError:
            return False
        except OSError:
            return None
        return True

    async def _carry_out(self, run: Run) -> Outcome:
        try:
            await self.ledger.request(run.id, run.request)
            self._emit(run, Happened.REQUESTED, run.request.reason)
            async with self._turns[run.request.environment], self._slots:
                return await self._take_turn(run)
        except _EXPECTED as error:
            hint = getattr(error, "hint", None)
            return self._failed(run, f"{error} ({hint})" if hint else str(error) or type(error).__name__)
        except Exception as error:  # an action's bug is its outcome, not the daemon's end
            log.exception("action_broke", action=run.request.action, environment=run.request.environment, run=run.id)
            return self._failed(run, f"{type(error).__name__}: {error}")

    async def _take_turn(self, run: Run) -> Outcome:
        means = self._check(run)  # the world may have changed while it waited
        if isinstance(means, Refused):
            await self._record_refusal(run, means)
            return Outcome(run.id, Result.REFUSED, means.reason)
        await self.ledger.append(Entry.GUARD, run.id, self.now(), allowed=True)
        begun = self.now()
        await self._plan(run, means)
        await self._apply(run, means)
        verdict = await self._verify(run, means)
        result = Result.FIXED if verdict.fixed else Result.NOT_FIXED
        return Outcome(run.id, result, scrub(verdict.reason), verdict.figures, self.now() - begun)

    async def _plan(self, run: Run, means: Means) -> Plan:
        run.step = "plan"
        plan = await means.action.plan(means.job, means.parameters)
        facts = {"summary": plan.summary, "steps": plan.steps, "figures": dict(plan.figures)}
        await self.ledger.append(Entry.PLAN, run.id, self.now(), **facts)
        self._emit(run, Happened.PLANNED, plan.summary, plan.figures)
        return plan

    async def _apply(self, run: Run, means: Means) -> None:
        for step in means.action.steps(means.job, means.parameters):
            run.step, run.ratio, run.doing = step.name, 0.0, ""
            begun = self.now()
            await self.ledger.append(Entry.STEP, run.id, begun, name=step.name, state="begun")
            figures = await step.run()
            at = self.now()
            facts = {"name": step.name, "state": "finished", "figures": dict(figures), "seconds": at - begun}
            await self.ledger.append(Entry.STEP, run.id, at, **facts)
            self._emit(run, Happened.STEP, step.name, figures)

    async def _verify(self, run: Run, means: Means) -> Verdict:
        """The action's own verdict, then the alert's: what asked must have stopped asking."""
        run.step = "verify"
        alert = run.request.alert
        try:
            verdict = await means.action.verify(means.job, means.parameters)
            await self.world.reread(run.request.environment, means.action.subjects)
            if verdict.fixed and alert is not None and self.world.still_firing(alert):
                name = alert.get("alertname", "the alert")
                verdict = Verdict(False, f"{verdict.reason}; but {name} is still firing", verdict.figures)
        except _EXPECTED as error:
            verdict = Verdict(False, scrub(f"whether it helped is unknown: {error}"))
        facts = {"fixed": verdict.fixed, "reason": verdict.reason, "figures": dict(verdict.figures)}
        await self.ledger.append(Entry.VERDICT, run.id, self.now(), **facts)
        return verdict

    def _failed(self, run: Run, reason: str) -> Outcome:
        return Outcome(run.id, Result.FAILED, f"{run.step}: {scrub(reason)}", {}, self.now() - run.since)

    async def _refuse(self, run: Run, refused: Refused) -> Outcome:
        """Record and tell a refusal, once as long as the same is asked and refused on the same ground."""
        outcome = Outcome(run.id, Result.REFUSED, refused.reason)
        place, said = (run.request.environment, run.request.action), (run.request.key, refused.ground)
        if self._last_refusal.get(place) == said:
            self._count(run.request.action, outcome.result)
            return outcome
        self._last_refusal[place] = said
        try:
            await self.ledger.request(run.id, run.request)
            await self._record_refusal(run, refused)
        except DaemonError as error:
            log.error("refusal_not_recorded", run=run.id, error=error.message)  # noqa: TRY400 - no trace needed
        self._tell_end(run, outcome)
        return outcome

    async def _record_refusal(self, run: Run, refused: Refused) -> None:
        facts = {"allowed": False, "ground": refused.ground.value, "reason": refused.reason}
        await self.ledger.append(Entry.GUARD, run.id, self.now(), **facts)

    async def _end(self, run: Run, outcome: Outcome) -> None:
        facts = {"result": outcome.result.value, "reason": outcome.reason, "figures": dict(outcome.figures)}
        try:
            await self.ledger.append(Entry.OUTCOME, run.id, self.now(), **facts, seconds=outcome.seconds)
        except DaemonError as error:
            log.error("outcome_not_recorded", run=run.id, error=error.message)  # noqa: TRY400 - no trace needed
        self._tell_end(run, outcome)

    def _tell_end(self, run: Run, outcome: Outcome) -> None:
        self._count(run.request.action, outcome.result)
        log.info(
            "action_ended",
            action=run.request.action,
            environment=run.request.environment,
            run=run.id,
            result=outcome.result.value,
            reason=outcome.reason,
            seconds=round(outcome.seconds, 3),
        )
        kind = Happened.REFUSED if outcome.result is Result.REFUSED else Happened.DONE
        self._emit(run, kind, outcome.reason, {**outcome.figures, "seconds": outcome.seconds}, outcome.result)

    def _count(self, action: str, result: Result) -> None:
        if action in self.actions:  # what others ask for must not make series
            self.counter.labels(action, result.value).inc()

    def _emit(
        self,
        run: Run,
        kind: Happened,
        text: str,
        figures: Mapping[str, float | str] | None = None,
        result: Result | None = None,
    ) -> None:
        run.events += 1
        at = self.now()
        self.world.emit(ActionEvent(kind, run.id, run.events, run.request, at, scrub(text), figures or {}, result))
