"""What people do with runs: look, answer, cancel, pause, resume, retry, stop everything. Every act is in the ledger."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions import runs
from daemon.actions.approvals import Approved, Rejected, judge_answers, objection
from daemon.actions.asking import understand
from daemon.actions.engine import Engine
from daemon.actions.events import ActionEvent, Happened
from daemon.actions.ledger import Entry, Subject, clean
from daemon.actions.means import Means
from daemon.actions.port import NotAllowedError, NotPossibleError, UnknownRunError
from daemon.actions.preview import preview
from daemon.actions.request import Outcome, Request, Result, Source
from daemon.actions.switch import Switches
from daemon.actions.turn import subject_of
from daemon.actions.views import (
    Answer,
    LedgerFilter,
    LedgerView,
    Preview,
    Run,
    RunDetail,
    RunFilter,
    RunState,
    StopSwitch,
    Submitted,
    requester_of,
)
from daemon.config import Verb
from fleet.errors import ActionError
from fleet.policy import Consent

_UNTOUCHED = (RunState.QUEUED, RunState.WAITING, RunState.PAUSED)  # in nobody's hands
_ACTIVE = (*_UNTOUCHED, RunState.RUNNING)
_PAUSABLE = (RunState.QUEUED, RunState.RUNNING)


class People:
    """ActionsPort, made of the engine, the ledger and the stop switch."""

    def __init__(self, engine: Engine, switches: Switches) -> None:
        self._engine = engine
        self._means: Means = engine.means
        self._switches = switches

    async def submit(self, request: Request) -> Submitted:
        return await self._engine.submit(request)

    async def preview(self, request: Request) -> Preview:
        return await preview(self._means, request)

    async def runs(self, wanted: RunFilter) -> Sequence[Run]:
        async with self._means.state.begin() as connection:
            return await runs.listed(connection, wanted)

    async def run(self, run_id: str) -> RunDetail:
        async with self._means.state.begin() as connection:
            return await runs.detail(connection, await self._find(connection, run_id))

    async def entries(self, wanted: LedgerFilter) -> Sequence[LedgerView]:
        return await self._means.ledger.entries(wanted)

    async def answer(
        self, run_id: str, person: str, *, approved: bool, via: str, reason: str = "", digest: str | None = None
    ) -> Run:
        async with self._means.state.begin() as connection:
            run = await self._find(connection, run_id, lock=True)
            refusal = self._refusal(run, person, "approve") or self._no_answer(run, person, approved, digest)
            if refusal is None:
                answer = Answer(person, approved, clean(reason), via, self._means.now(), run.digest or "")
                first = await runs.add_answer(connection, run.id, answer)
                refusal = None if first else NotPossibleError(f"{person} has answered before, and that counts")
            facts = {"approved": approved, "reason": reason, "via": via, "digest": run.digest}
            facts |= {"decision": "counted" if refusal is None else "refused"}
            said = {} if refusal is None else {"because": refusal.message}
            await self._means.ledger.write(connection, Entry.ANSWER, subject_of(run, person), **facts, **said)
            if refusal is None:
                run = await self._heed(connection, run)
        if refusal is not None:
            raise refusal
        self._tell(Happened.ANSWERED, run, f"{'approved' if approved else 'rejected'} by {person}")
        if run.state is RunState.ENDED:
            self._tell(Happened.REFUSED, run, run.outcome or "", run.result)
        return run

    async def _heed(self, connection: AsyncConnection, run: Run) -> Run:
        """Whether the answers so far are enough."""
        consent = self._consent(run)
        if consent is None:
            return run
        found = judge_answers(
            consent,
            run.digest or "",
            await runs.answers(connection, run.id),
            requester=requester_of(run),
            now=self._means.now(),
            expires_at=run.expires_at,
            limits=self._means.limits(),
        )
        match found:
            case Rejected(by=by, reason=reason):
                said = f"rejected by {by}" + (f": {reason}" if reason else "")
                return await self._finish(connection, run, Result.REFUSED, said)
            case Approved():
                run = await runs.change(connection, run, state="queued")
                await self._engine.queue.put(connection, run.id, run.environment)
        return run

    async def cancel(self, run_id: str, person: str, *, via: str, reason: str = "") -> Run:
        async with self._means.state.begin() as connection:
            run = await self._controlled(connection, run_id, person, _ACTIVE, what="cancel", via=via, reason=reason)
            run = await runs.change(connection, run, asked="cancel", asked_by=person)
            if run.state in _UNTOUCHED and run.begun_at is None:
                said = f"cancelled by {person}" + (f": {reason}" if reason else "")
                run = await self._finish(connection, run, Result.CANCELLED, said)
            elif run.state in _UNTOUCHED:  # what it left must be taken back, by whoever looks after the environment
                run = await runs.change(connection, run, state="queued", not_before=None)
                await self._engine.queue.put(connection, run.id, run.environment)
        if run.state is RunState.ENDED:
            self._tell(Happened.DONE, run, run.outcome or "", run.result)
        return run

    async def pause(self, run_id: str, person: str, *, via: str) -> Run:
        async with self._means.state.begin() as connection:
            run = await self._controlled(connection, run_id, person, _PAUSABLE, what="pause", via=via)
            if run.asked == "cancel":
                return run
            if run.state is RunState.RUNNING:
                return await runs.change(connection, run, asked="pause", asked_by=person)
            said = f"paused by {person}"
            return await runs.change(connection, run, state="paused", ground="paused", parked=said, asked=None)

    async def resume(self, run_id: str, person: str, *, via: str) -> Run:
        async with self._means.state.begin() as connection:
            run = await self._controlled(connection, run_id, person, (RunState.PAUSED,), what="resume", via=via)
            said = f"resumed by {person}"
            waits = {"ground": "resumed", "parked": said, "not_before": None, "asked": None}
            progress = {"ratio": 0.0, "doing": said, "at": self._means.now()}
            run = await runs.change(connection, run, state="queued", progress=progress, **waits)
            await self._engine.queue.put(connection, run.id, run.environment)
        return run

    async def retry(self, run_id: str, person: str, *, via: str) -> Submitted:
        async with self._means.state.begin() as connection:
            run = await self._controlled(connection, run_id, person, (RunState.ENDED,), what="retry", via=via)
        request = Request(
            environment=run.environment,
            action=run.action,
            key=f"retry:{run.id}:{uuid.uuid4().hex[:8]}",
            requested_by=person,
            at=self._means.now(),
            source=Source.PERSON,
            reason=f"again, as run {run.id}",
            parameters=run.parameters,
        )
        return await self._engine.submit(request)

    async def stop(self, person: str, *, via: str, reason: str = "") -> StopSwitch:
        return await self._switch(person, via, on=True, reason=reason)

    async def release(self, person: str, *, via: str) -> StopSwitch:
        return await self._switch(person, via, on=False)

    async def switch(self) -> StopSwitch:
        async with self._means.state.begin() as connection:
            found = await self._switches.read(connection)
        return found or StopSwitch(True, "whether the stop file is there cannot be read")

    async def _switch(self, person: str, via: str, *, on: bool, reason: str = "") -> StopSwitch:
        refusal = self._means.operators().refusal(person, "stop", None, None)
        if refusal is not None:
            await self._means.ledger.note(Entry.SWITCH, Subject(person=person), decision="refused", because=refusal)
            raise NotAllowedError(refusal)
        async with self._means.state.begin() as connection:
            found = await self._switches.turn(connection, on=on, person=person, reason=reason, via=via)
        self._engine.look()
        return found

    async def _controlled(
        self,
        connection: AsyncConnection,
        run_id: str,
        person: str,
        states: Sequence[RunState],
        *,
        what: str,
        via: str,
        reason: str = "",
    ) -> Run:
        """The run, locked. Raises NotAllowedError, and NotPossibleError where it is in none of these states."""
        run = await self._find(connection, run_id, lock=True)
        refusal: ActionError | None = self._refusal(run, person, "request")
        if refusal is None and run.state not in states:
            wanted = " or ".join(state.value for state in states)
            refusal = NotPossibleError(f"run {run.id} is {run.state.value}; to {what} it, it must be {wanted}")
        if refusal is not None:
            said = {"what": what, "via": via, "decision": "refused", "because": refusal.message}
            await self._means.ledger.note(Entry.CONTROL, subject_of(run, person), **said)
            raise refusal
        await self._means.ledger.write(
            connection, Entry.CONTROL, subject_of(run, person), what=what, via=via, reason=reason
        )
        return run

    def _refusal(self, run: Run, person: str, verb: Verb) -> NotAllowedError | None:
        try:
            risk = understand(self._means, run.action, run.environment, run.parameters).risk
        except NotPossibleError:  # it makes no sense any more, so nobody knows
            risk = None
        said = self._means.operators().refusal(person, verb, run.environment, run.action, risk)
        return None if said is None else NotAllowedError(said)

    def _no_answer(self, run: Run, person: str, approved: bool, digest: str | None) -> ActionError | None:
        """Why an answer of somebody who may give one would not count."""
        if run.state is not RunState.WAITING:
            return NotPossibleError(f"run {run.id} does not wait for an answer: it is {run.state.value}")
        if run.expires_at is not None and run.expires_at <= self._means.now():
            return NotPossibleError(f"run {run.id} was not answered in time", hint=f"custode actions retry {run.id}")
        if digest is not None and digest != run.digest:
            hint = f"look at it: custode actions show {run.id}"
            return NotPossibleError("the plan has changed since it was shown", hint=hint)
        consent = self._consent(run)
        if not approved or consent is None:
            return None
        said = objection(person, consent, requester_of(run), self._means.limits())
        return None if said is None else NotAllowedError(said)

    def _consent(self, run: Run) -> Consent | None:
        """What the policy asks for such a run; None where it makes no sense here any more."""
        try:
            meant = understand(self._means, run.action, run.environment, run.parameters)
        except NotPossibleError:
            return None
        return meant.environment.policy.consent.of(meant.risk, run.action)

    async def _find(self, connection: AsyncConnection, run_id: str, *, lock: bool = False) -> Run:
        """By the whole id what is to be changed, what is only looked at by the beginning of one as well."""
        if lock:
            exact = await runs.get(connection, run_id, lock=True)
            found = [] if exact is None else [exact]
        else:
            found = await runs.beginning(connection, run_id) if run_id else []
        if len(found) != 1:
            problem = "several runs have an id that begins so" if found else "there is no such run"
            raise UnknownRunError(f"{run_id!r}: {problem}", hint="custode actions list shows them")
        return found[0]

    async def _finish(self, connection: AsyncConnection, run: Run, result: Result, reason: str) -> Run:
        run = await runs.finish(connection, run, Outcome(run.id, result, reason), self._means.now())
        await self._means.ledger.write(connection, Entry.OUTCOME, subject_of(run), result=result.value, reason=reason)
        return run

    def _tell(self, kind: Happened, run: Run, text: str = "", result: Result | None = None) -> None:
        self._means.world.emit(ActionEvent(kind, replace(run), self._means.now(), text, {}, result))
