"""The API of actions: what people ask of the engine, over TCP and over the control socket.

Reading is open; whoever changes something must be known. Whether a person may is decided in the engine.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from daemon.actions.port import ActionsPort, UnknownRunError
from daemon.actions.request import Request, Source
from daemon.actions.views import (
    LedgerFilter,
    LedgerView,
    Preview,
    Run,
    RunDetail,
    RunFilter,
    StopSwitch,
    Submitted,
)
from daemon.web._actions_input import (
    Approve,
    Ask,
    Input,
    LedgerQuery,
    Nothing,
    Reject,
    RunQuery,
    Turn,
    Why,
    read_body,
    read_query,
)
from daemon.web._actions_reply import Answers, answering
from daemon.web.access import Role
from daemon.web.identity import Asker, Identity
from daemon.web.routes import Register, Route, registering

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
Does = Callable[[web.Request, Asker], Awaitable[object]]


def action_routes(port: ActionsPort, identity: Identity, *, now: Callable[[], float]) -> Register:
    """The routes /api/v1/actions, /api/v1/ledger and /api/v1/stop-actions; `now` gives unix seconds."""
    api = _Api(port, now)

    def reads(path: str, answers: Answers, summary: str, query: type[Input], answer: Any) -> Route:
        handler = answering(answers)
        return Route("GET", f"/api/v1/{path}", handler, Role.VIEWER, summary, query=query, answer=answer)

    def changes(path: str, does: Does, summary: str, body: type[Input], answer: Any) -> Route:
        async def known(request: web.Request) -> object:
            return await does(request, await identity.of(request))

        return Route("POST", f"/api/v1/{path}", answering(known), Role.OPERATOR, summary, body=body, answer=answer)

    return registering(
        reads("actions", api.runs, "Runs of actions, newest first", RunQuery, list[Run]),
        reads("actions/{id}", api.run, "A run: plan, steps, answers, evidence", Nothing, RunDetail),
        reads(
            "ledger",
            api.ledger,
            "What was asked, allowed, refused and done, newest first",
            LedgerQuery,
            list[LedgerView],
        ),
        reads("stop-actions", api.switch, "Whether all actions are stopped", Nothing, StopSwitch),
        changes("actions", api.submit, "Ask for an action, or for what it would do", Ask, Submitted | Preview),
        changes("actions/{id}/approve", api.approve, "Approve the plan of a run", Approve, Run),
        changes("actions/{id}/reject", api.reject, "Reject the plan of a run", Reject, Run),
        changes("actions/{id}/cancel", api.cancel, "Cancel a run", Why, Run),
        changes("actions/{id}/pause", api.pause, "Stop a run after the step under way", Nothing, Run),
        changes("actions/{id}/resume", api.resume, "Let a paused run go on", Nothing, Run),
        changes("actions/{id}/retry", api.retry, "Ask again for what an ended run was to do", Nothing, Submitted),
        changes("stop-actions", api.turn, "Stop all actions, or let them begin again", Turn, StopSwitch),
    )


class _Api:
    def __init__(self, port: ActionsPort, now: Callable[[], float]) -> None:
        self._port = port
        self._now = now

    async def runs(self, request: web.Request) -> object:
        asked = read_query(request, RunQuery)
        wanted = RunFilter(
            asked.environment, asked.action, asked.state, asked.before, asked.limit, results=asked.result
        )
        return await self._port.runs(wanted)

    async def run(self, request: web.Request) -> object:
        read_query(request, Nothing)
        return await self._port.run(_id(request))

    async def ledger(self, request: web.Request) -> object:
        asked = read_query(request, LedgerQuery)
        return await self._port.entries(
            LedgerFilter(
                run_id=asked.run,
                environment=asked.environment,
                action=asked.action,
                person=asked.person,
                entry=asked.entry,
                since=asked.since,
                before=asked.before,
                limit=asked.limit,
            )
        )

    async def switch(self, request: web.Request) -> object:
        read_query(request, Nothing)
        return await self._port.switch()

    async def submit(self, request: web.Request, asker: Asker) -> object:
        """A Submitted, or a Preview where it is a dry run."""
        asked = await read_body(request, Ask)
        wanted = Request(
            environment=asked.environment,
            action=asked.action,
            # a room of its own: nobody takes the key of an alert or a schedule
            key=f"person:{asked.key or uuid.uuid4().hex}",
            requested_by=asker.person,
            at=self._now(),
            source=Source.PERSON,
            reason=asked.reason,
            parameters=asked.parameters,
        )
        return await (self._port.preview(wanted) if asked.dry_run else self._port.submit(wanted))

    async def approve(self, request: web.Request, asker: Asker) -> object:
        said = await read_body(request, Approve)
        return await self._port.answer(
            _id(request), asker.person, approved=True, via=asker.via, reason=said.reason, digest=said.digest
        )

    async def reject(self, request: web.Request, asker: Asker) -> object:
        said = await read_body(request, Reject)
        return await self._port.answer(
            _id(request), asker.person, approved=False, via=asker.via, reason=said.reason, digest=said.digest
        )

    async def cancel(self, request: web.Request, asker: Asker) -> object:
        said = await read_body(request, Why)
        return await self._port.cancel(_id(request), asker.person, via=asker.via, reason=said.reason)

    async def pause(self, request: web.Request, asker: Asker) -> object:
        await read_body(request, Nothing)
        return await self._port.pause(_id(request), asker.person, via=asker.via)

    async def resume(self, request: web.Request, asker: Asker) -> object:
        await read_body(request, Nothing)
        return await self._port.resume(_id(request), asker.person, via=asker.via)

    async def retry(self, request: web.Request, asker: Asker) -> object:
        await read_body(request, Nothing)
        return await self._port.retry(_id(request), asker.person, via=asker.via)

    async def turn(self, request: web.Request, asker: Asker) -> object:
        said = await read_body(request, Turn)
        if said.stopped:
            return await self._port.stop(asker.person, via=asker.via, reason=said.reason)
        return await self._port.release(asker.person, via=asker.via)


def _id(request: web.Request) -> str:
    text = request.match_info["id"]
    if _ID.fullmatch(text) is None:
        raise UnknownRunError(f"there is no run {text[:64]!r}")
    return text
