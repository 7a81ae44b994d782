"""A daemon's doors before an engine that keeps its runs in memory and moves a run on by a stage whenever it is read."""

from __future__ import annotations

import asyncio
import os
import pwd
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actions import Plan
from daemon.actions.port import NotAllowedError, NotPossibleError, UnknownRunError
from daemon.actions.request import Request, Result
from daemon.actions.views import (
    Answer,
    LedgerFilter,
    LedgerView,
    Preview,
    Progress,
    Run,
    RunDetail,
    RunFilter,
    RunState,
    StepView,
    StopSwitch,
    Submitted,
)
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web.access.access import Access
from daemon.web.access.people import People
from daemon.web.access.policy import AccessPolicy
from daemon.web.access.tokens import digest_of
from daemon.web.actions import action_routes
from daemon.web.identity import Identity
from daemon.web.server import WebServer
from fleet.errors import SecretError, StateAwayError
from fleet.secrets import Secrets

ME = pwd.getpwuid(os.getuid()).pw_name
TOKEN = "of-carla"  # noqa: S105 - of nobody
PLAN = Plan(
    summary="ANALYZE 2 tables",
    steps=("docs", "chunks"),
    figures={"stale_rows": 1200.0, "size_bytes": 5_242_880.0},
    objects=({"relname": "docs"}, {"relname": "chunks"}),
    commands=('ANALYZE "docs"', 'ANALYZE "chunks"'),
    effect="the planner knows what is there",
)


class Staff:
    """Whoever runs the tests is Ada; Carla has a token."""

    def __init__(self) -> None:
        self.accounts = {ME: "ada"}
        self.unreadable = False

    def by_local_user(self, account: str) -> str | None:
        return self.accounts.get(account)

    @property
    def configured(self) -> Mapping[str, object]:
        return {"carla": None} | dict.fromkeys(self.accounts.values())

    @property
    def have_tokens(self) -> bool:
        return True

    @property
    def token_hint(self) -> str:
        return "send a token"

    async def by_digest(self, digest: bytes, _secrets: Secrets) -> str | None:
        if self.unreadable:
            raise SecretError("env:CARLAS_TOKEN is not set")
        return "carla" if digest == digest_of(TOKEN) else None


@dataclass
class MemoryActions:
    """ActionsPort. Production needs `needed` approvals, `mallory` may do nothing."""

    needed: int = 1
    away: bool = False
    details: dict[str, RunDetail] = field(default_factory=dict)
    ledger: list[LedgerView] = field(default_factory=list)
    stopped: StopSwitch = field(default_factory=lambda: StopSwitch(False))
    asked: list[RunFilter | LedgerFilter] = field(default_factory=list)
    result: Result = Result.FIXED
    frozen: bool = False  # runs stand still
    digest: str = "d1"
    known: frozenset[str] = frozenset({"analyze"})  # the actions that there are

    async def submit(self, request: Request) -> Submitted:
        self._check(request.requested_by)
        if request.action not in self.known:
            raise NotPossibleError(f"there is no action {request.action!r}", hint="custode list actions")
        for shown in self.details.values():
            if shown.run.key == request.key:
                return Submitted(shown.run, False, "it was asked for before")
        waits = request.environment == "production"
        run = Run(
            id=f"{len(self.details):x}a{len(self.details):010x}",
            key=request.key,
            source=request.source,
            environment=request.environment,
            action=request.action,
            object="",
            parameters=request.parameters,
            requested_by=request.requested_by,
            requested_at=request.at,
            reason=request.reason,
            alert=None,
            state=RunState.WAITING if waits else RunState.QUEUED,
            parked=None if waits else "another run is at work there",
            plan=PLAN if waits else None,
            digest=self.digest if waits else None,
            approvals_needed=self.needed if waits else 0,
            sender=request.sender,
        )
        self.details[run.id] = RunDetail(run, (), ())
        self._note("requested", run, request.requested_by, reason=request.reason)
        return Submitted(run, True)

    async def preview(self, request: Request) -> Preview:
        self._check(request.requested_by)
        decision = "refused" if self.stopped.stopped else "allowed"
        reason = "all actions are stopped" if self.stopped.stopped else "nothing speaks against it"
        consent = "two_approvals" if request.environment == "production" else "auto"
        return Preview(
            request.environment,
            request.action,
            "safe",
            request.parameters,
            decision,
            reason,
            consent,
            PLAN,
            self.digest,
        )

    async def answer(
        self, run_id: str, person: str, *, approved: bool, via: str, reason: str = "", digest: str | None = None
    ) -> Run:
        self._check(person)
        shown = self._find(run_id)
        if shown.run.state is not RunState.WAITING:
            raise NotPossibleError(f"run {shown.run.id} does not wait for an answer")
        if digest not in {None, shown.run.digest}:
            raise NotPossibleError("the plan has changed since it was shown")
        answer = Answer(person, approved, reason, via, time.time(), shown.run.digest or "")
        self.details[shown.run.id] = replace(shown, answers=(*shown.answers, answer))
        self._note("answer", shown.run, person, approved=approved, via=via, reason=reason)
        given = len({one.person for one in self.details[shown.run.id].answers})
        if not approved:
            return self._change(
                shown.run.id, state=RunState.ENDED, result=Result.REFUSED, outcome=f"rejected: {reason}"
            )
        return self._change(shown.run.id, state=RunState.QUEUED if given >= self.needed else RunState.WAITING)

    async def cancel(self, run_id: str, person: str, *, via: str, reason: str = "") -> Run:
        self._check(person)
        run = self._find(run_id).run
        if run.state is RunState.ENDED:
            raise NotPossibleError(f"run {run.id} has ended already")
        self._note("control", run, person, what="cancel", via=via, reason=reason)
        return self._change(run.id, state=RunState.ENDED, result=Result.CANCELLED, outcome=f"cancelled by {person}")

    async def pause(self, run_id: str, person: str, *, via: str) -> Run:
        self._check(person)
        run = self._find(run_id).run
        self._note("control", run, person, what="pause", via=via)
        return self._change(run.id, state=RunState.PAUSED, parked=f"paused by {person}")

    async def resume(self, run_id: str, person: str, *, via: str) -> Run:
        self._check(person)
        run = self._find(run_id).run
        if run.state is not RunState.PAUSED:
            raise NotPossibleError(f"run {run.id} is {run.state.value}, not paused")
        self._note("control", run, person, what="resume", via=via)
        return self._change(run.id, state=RunState.QUEUED, parked=None)

    async def retry(self, run_id: str, person: str, *, via: str) -> Submitted:
        run, at = self._find(run_id).run, time.time()
        self._note("control", run, person, what="retry", via=via)
        return await self.submit(Request(run.environment, run.action, f"retry:{run.id}:{at}", person, at))

    async def runs(self, wanted: RunFilter) -> Sequence[Run]:
        self._check()
        self.asked.append(wanted)
        found = [shown.run for shown in reversed(self.details.values())]
        fits = [run for run in found if not wanted.states or run.state in wanted.states]
        return [run for run in fits if wanted.environment in {None, run.environment}][: wanted.limit]

    async def run(self, run_id: str) -> RunDetail:
        self._check()
        shown = self._find(run_id)
        if not self.frozen:
            self._move_on(shown)
        return shown

    async def entries(self, wanted: LedgerFilter) -> Sequence[LedgerView]:
        self._check()
        self.asked.append(wanted)
        found = [one for one in reversed(self.ledger) if wanted.run_id in {None, one.run_id}]
        return [one for one in found if wanted.before is None or one.id < wanted.before][: wanted.limit]

    async def stop(self, person: str, *, via: str, reason: str = "") -> StopSwitch:
        self._check(person)
        self.stopped = StopSwitch(True, reason, person, time.time())
        self._note("switch", None, person, stopped=True, via=via)
        return self.stopped

    async def release(self, person: str, *, via: str) -> StopSwitch:
        self._check(person)
        self.stopped = StopSwitch(False, "", person, time.time())
        self._note("switch", None, person, stopped=False, via=via)
        return self.stopped

    async def switch(self) -> StopSwitch:
        self._check()
        return self.stopped

    def _check(self, person: str = "") -> None:
        if self.away:
            raise StateAwayError("the state database is away", hint="is it started?")
        if person == "mallory":
            raise NotAllowedError("mallory may not do that")

    def _find(self, run_id: str) -> RunDetail:
        self._check()
        found = [shown for id_, shown in self.details.items() if id_.startswith(run_id)]
        if len(found) != 1:
            raise UnknownRunError(f"{run_id!r}: {'several' if found else 'no'} runs have an id that begins so")
        return found[0]

    def _move_on(self, shown: RunDetail) -> None:
        run, now = shown.run, time.time()
        match run.state, len(shown.steps):
            case RunState.QUEUED, _:
                progress = Progress(0.25, "docs [1/4]", now, 90.0)
                self._change(
                    run.id,
                    state=RunState.RUNNING,
                    plan=PLAN,
                    digest=self.digest,
                    begun_at=now,
                    step="docs",
                    progress=progress,
                )
            case RunState.RUNNING, 2:
                after = {"stale_rows": 0.0, "size_bytes": 5_242_880.0}
                said = "as it should be" if self.result is Result.FIXED else "not as it should be"
                self._change(
                    run.id,
                    state=RunState.ENDED,
                    result=self.result,
                    outcome=said,
                    before=PLAN.figures,
                    after=after,
                    ended_at=now,
                )
            case RunState.RUNNING, done:
                step = StepView(done + 1, PLAN.steps[done], 1, 1, now - 2, now, {"rows": 12.0}, None)
                self.details[run.id] = replace(shown, steps=(*shown.steps, step))

    def _change(self, run_id: str, **fields: Any) -> Run:
        shown = self.details[run_id]
        self.details[run_id] = replace(shown, run=replace(shown.run, **fields))
        return self.details[run_id].run

    def _note(self, entry: str, run: Run | None, person: str, **facts: object) -> None:
        self.ledger.append(
            LedgerView(
                id=len(self.ledger) + 1,
                at=time.time(),
                entry=entry,
                run_id=run.id if run else None,
                environment=run.environment if run else None,
                action=run.action if run else None,
                person=person,
                facts=facts,
            )
        )


def make_access(people: People, policy: AccessPolicy | None = None) -> Access:
    """What stands before a server that knows these people."""
    secrets = Secrets(time.monotonic)
    return Access(policy or AccessPolicy(), lambda: people, secrets, now=time.time, monotonic=time.monotonic)


def make_server(port: MemoryActions, staff: Staff) -> WebServer:
    async def reload() -> None:
        raise AssertionError("nobody reloads here")

    access = make_access(staff)
    routes = action_routes(port, Identity(), now=time.time)
    return WebServer(Page(Telemetry().render), not_ready=lambda: None, reload=reload, register=[routes], access=access)


@dataclass
class Site:
    """A served MemoryActions, its configuration, and where it is reached."""

    port: MemoryActions
    staff: Staff
    data_dir: Path
    config: Path
    url: str


@contextmanager
def served(folder: Path, *, control: bool = True) -> Iterator[Site]:
    """Serve from a thread, so that commands with a loop of their own can ask."""
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o700, exist_ok=True)
    port, staff = MemoryActions(), Staff()
    server = make_server(port, staff)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        start = server.start("127.0.0.1", 0, control=data_dir if control else None)
        asyncio.run_coroutine_threadsafe(start, loop).result(10)
        config = folder / "custode.yml"
        listen = server.address.removeprefix("http://")
        config.write_text(
            f"data_dir: {data_dir}\nlisten: {listen}\nenvironments:\n  qa: {{tier: qa, dsn: postgresql://h/d}}\n"
        )
        yield Site(port, staff, data_dir, config, server.address)
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
