"""/actions: what is under way, what waits for people, what was done; and a run with all that is known of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from daemon.actions.port import UnknownRunError
from daemon.actions.request import Result
from daemon.actions.views import LedgerFilter, Run, RunDetail, RunFilter, RunState
from daemon.alertmanager import fingerprint
from daemon.page import asking
from daemon.page.figures import changes, figure, figures_line, words
from daemon.page.forms import SURE, Moment, Name, be_sure, filters, read_fields, validated
from daemon.page.frame import Frame
from daemon.page.notes import Note, Notes, query_of
from daemon.page.sentences import sentence
from daemon.page.sources import Sources
from daemon.page.standing import CONSENT, SIGNS, Rules, approved_by, place, standing
from daemon.web._actions_input import Approve, BadInputError, Input, Reject, Why
from daemon.web.access import Role, visitor
from daemon.web.routes import Route
from fleet.errors import CustodeError
from rules import Labels

_ACTIVE = (RunState.RUNNING, RunState.QUEUED, RunState.PAUSED)
_MOST_ACTIVE, _OF_LEDGER = 200, 500
_HISTORY = 50
_ID = "{id:[0-9A-Za-z_-]{1,64}}"
Does = Callable[[str, str, dict[str, str]], Awaitable[tuple[str, str]]]  # run, person, fields -> run, what is said


class Filters(Input):
    """`state` may be the result of what has ended; `before` is the moment of asking."""

    environment: Name | None = None
    action: Name | None = None
    state: RunState | Result | None = None
    before: Moment | None = None


def rules_of(sources: Sources) -> Rules:
    return Rules(sources.settings(), sources.operators(), sources.actions)


def routes(sources: Sources, frame: Frame) -> list[Route]:
    frame.filters.update(figure=figure, figures_line=figures_line, words=words, sentence=sentence)
    frame.filters.update(standing=standing, place=place)
    notes = Notes(sources.now)
    pages = _Pages(sources, frame, notes)
    does = _Does(sources)

    def changes(verb: str, do: Does, summary: str, body: type[Input]) -> Route:
        async def handler(request: web.Request) -> web.Response:
            run, person = request.match_info["id"], visitor(request).person or ""
            try:
                found, said = await do(run, person, await read_fields(request))
            except UnknownRunError as error:
                return notes.refuse(request, "/actions", error)
            except CustodeError as error:
                return notes.refuse(request, f"/actions/{run}", error)
            return notes.leave(request, f"/actions/{found}", Note(said))

        return Route("POST", f"/actions/{_ID}/{verb}", handler, Role.OPERATOR, summary, body=body)

    return [
        *asking.routes(sources, frame, notes),
        Route("GET", "/actions", pages.all, Role.VIEWER, "Actions under way and past", query=Filters),
        Route("GET", f"/actions/{_ID}", pages.one, Role.VIEWER, "A run and all that is known of it"),
        changes("approve", does.approve, "Approve the plan of a run", Approve),
        changes("reject", does.reject, "Reject the plan of a run", Reject),
        changes("cancel", does.cancel, "Cancel a run", Why),
        changes("pause", does.pause, "Stop a run after the step under way", Input),
        changes("resume", does.resume, "Let a paused run go on", Input),
        changes("retry", does.retry, "Ask again for what an ended run was to do", Input),
    ]


class _Pages:
    def __init__(self, sources: Sources, frame: Frame, notes: Notes) -> None:
        self._sources = sources
        self._frame = frame
        self._notes = notes

    async def all(self, request: web.Request) -> web.Response:
        said = filters(request)
        asked = validated(Filters, said)
        states, results = _split(asked.state)
        active: Sequence[Run] = ()
        if not results and states != (RunState.ENDED,):
            wanted = RunFilter(asked.environment, asked.action, states or (*_ACTIVE, RunState.WAITING))
            active = await self._runs(wanted, _MOST_ACTIVE + 1)
        history: Sequence[Run] = ()
        if results or states in {(), (RunState.ENDED,)}:
            wanted = RunFilter(asked.environment, asked.action, (RunState.ENDED,), asked.before, results=results)
            history = await self._runs(wanted, _HISTORY + 1)
        rules = rules_of(self._sources)
        shown = active[:_MOST_ACTIVE]
        order = {state: number for number, state in enumerate(_ACTIVE)}
        older = query_of(said, before=history[_HISTORY - 1].requested_at) if len(history) > _HISTORY else None
        return await self._frame.page(
            request,
            "actions.html",
            note=self._notes.read(request),
            asked=asked,
            filtered=bool(said),
            under_way=sorted((run for run in shown if run.state in order), key=lambda run: order[run.state]),
            waiting=[run for run in shown if run.state is RunState.WAITING],
            more=len(active) > _MOST_ACTIVE,
            history=history[:_HISTORY],
            older=older,
            verbs={run.id: rules.verbs(run, visitor(request).person) for run in shown},
            harmful={run.id: rules.harmful(run) for run in shown},
            risks={run.id: rules.risk(run) for run in shown},
            environments=list(self._sources.settings().environments),
            actions=list(self._sources.actions),
            standings=[*(state for state in RunState if state is not RunState.ENDED), *Result],
            signs=SIGNS,
        )

    async def _runs(self, wanted: RunFilter, limit: int) -> Sequence[Run]:
        return await self._sources.port.runs(
            RunFilter(wanted.environment, wanted.action, wanted.states, wanted.before, limit, results=wanted.results)
        )

    async def one(self, request: web.Request) -> web.Response:
        detail: RunDetail = await self._sources.port.run(request.match_info["id"])
        run, rules = detail.run, rules_of(self._sources)
        entries = await self._sources.port.entries(LedgerFilter(run_id=run.id, limit=_OF_LEDGER))
        consent, person = rules.consent(run), visitor(request).person
        action = self._sources.actions.get(run.action)
        return await self._frame.page(
            request,
            "action.html",
            note=self._notes.read(request),
            run=run,
            detail=detail,
            entries=list(reversed(entries)),
            guard=[entry for entry in reversed(entries) if entry.entry == "guard"],
            summary=action.summary if action is not None else "",
            risk=rules.risk(run),
            harmful=rules.harmful(run),
            consent=CONSENT[consent] if consent is not None else "",
            verbs=rules.verbs(run, person),
            refusal=rules.refusal(run, person, "approve") if person is not None else None,
            given=approved_by(run, detail.answers),
            approvers=rules.approvers(run, detail.answers),
            configured=bool(rules.operators.configured),
            alert=fingerprint(Labels(run.alert)) if run.alert else None,
            again=query_of({"environment": run.environment, "action": run.action, **asking.prefill(run.parameters)}),
            earlier=run.key.split(":")[1] if run.key.startswith("retry:") else None,
            changes=changes(run.before or {}, run.after or {}),
            signs=SIGNS,
        )


class _Does:
    """What each form does; returns the run to look at, and what is said of it."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    async def approve(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        sure = said.pop(SURE, None)
        asked = validated(Approve, said)
        if asked.digest is None:  # an approval of a plan that nobody has seen
            raise BadInputError("it is not said which plan is meant", hint="load the page again")
        if rules_of(self._sources).harmful((await self._sources.port.run(run_id)).run):
            be_sure(sure)
        run = await self._sources.port.answer(
            run_id, person, approved=True, via="page", reason=asked.reason, digest=asked.digest
        )
        if run.state is not RunState.WAITING:
            return run.id, "Approved: it begins as soon as nothing speaks against it."
        given = approved_by(run, (await self._sources.port.run(run.id)).answers)
        return run.id, f"Approved: {len(given)} of {run.approvals_needed} approvals so far."

    async def reject(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        asked = validated(Reject, said)
        run = await self._sources.port.answer(
            run_id, person, approved=False, via="page", reason=asked.reason, digest=asked.digest
        )
        return run.id, "Rejected: it ends as refused."

    async def cancel(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        sure = said.pop(SURE, None)
        asked = validated(Why, said)
        if (await self._sources.port.run(run_id)).run.begun_at is not None:
            be_sure(sure)
        run = await self._sources.port.cancel(run_id, person, via="page", reason=asked.reason)
        ended = run.state is RunState.ENDED
        return run.id, "Cancelled." if ended else "It is being cancelled; what it has left is taken back."

    async def pause(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        validated(Input, said)
        run = await self._sources.port.pause(run_id, person, via="page")
        return run.id, "Paused." if run.state is RunState.PAUSED else "It pauses after the step under way."

    async def resume(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        validated(Input, said)
        run = await self._sources.port.resume(run_id, person, via="page")
        return run.id, "It goes on."

    async def retry(self, run_id: str, person: str, said: dict[str, str]) -> tuple[str, str]:
        validated(Input, said)
        made = await self._sources.port.retry(run_id, person, via="page")
        return made.run.id, "Asked for again." if made.new else made.note


def _split(standing: RunState | Result | None) -> tuple[tuple[RunState, ...], tuple[Result, ...]]:
    if standing is None:
        return (), ()
    return ((standing,), ()) if isinstance(standing, RunState) else ((), (standing,))
