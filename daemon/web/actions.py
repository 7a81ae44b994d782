"""The API of actions: what people ask of the engine, over TCP and over the control socket.

Reading is open; whoever changes something must be known. Whether a person may is decided in the engine.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from daemon.actions.port import ActionsPort, UnknownRunError
from daemon.actions.request import Request, Source
from daemon.actions.views import LedgerFilter, RunFilter
from daemon.web._actions_input import (
    Approve,
    Ask,
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
from daemon.web._server import Register
from daemon.web.identity import Asker, Identity

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
Does = Callable[[web.Request, Asker], Awaitable[object]]


def action_routes(port: ActionsPort, identity: Identity, *, now: Callable[[], float]) -> Register:
    """The routes /api/v1/actions, /api/v1/ledger and /api/v1/stop-actions; `now` gives unix seconds."""
    api = _Api(port, now)
    reads: dict[str, Answers] = {
        "actions": api.runs,
        "actions/{id}": api.run,
        "ledger": api.ledger,
        "stop-actions": api.switch,
    }
    changes: dict[str, Does] = {
        "actions": api.submit,
        "actions/{id}/approve": api.approve,
        "actions/{id}/reject": api.reject,
        "actions/{id}/cancel": api.cancel,
        "actions/{id}/pause": api.pause,
        "actions/{id}/resume": api.resume,
        "actions/{id}/retry": api.retry,
        "stop-actions": api.turn,
    }

    def known(does: Does) -> Answers:
        async def answers(request: web.Request) -> object:
            return await does(request, await identity.of(request))

        return answers

    def register(application: web.Application) -> None:
        for path, read in reads.items():
            application.router.add_get(f"/api/v1/{path}", answering(read), allow_head=False)
        for path, does in changes.items():
            application.router.add_post(f"/api/v1/{path}", answering(known(does)))

    return register


class _Api:
    def __init__(self, port: ActionsPort, now: Callable[[], float]) -> None:
        self._port = port
        self._now = now

    async def runs(self, request: web.Request) -> object:
        asked = read_query(request, RunQuery)
        return await self._port.runs(RunFilter(asked.environment, asked.action, asked.state, asked.before, asked.limit))

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
