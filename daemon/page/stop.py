"""/stop: the switch that stops all actions."""

from __future__ import annotations

from aiohttp import web

from daemon.page.forms import read_form
from daemon.page.frame import Frame
from daemon.page.notes import Note, Notes
from daemon.page.sources import Sources
from daemon.web._actions_input import Input, Why
from daemon.web.access import Role, visitor
from daemon.web.routes import Route
from fleet.errors import CustodeError


def routes(sources: Sources, frame: Frame) -> list[Route]:
    notes = Notes(sources.now)

    async def show(request: web.Request) -> web.Response:
        person = visitor(request).person
        refusal = None if person is None else sources.operators().refusal(person, "stop", None, None)
        return await frame.page(request, "stop.html", note=notes.read(request), refusal=refusal)

    async def stop(request: web.Request) -> web.Response:
        try:
            asked = await read_form(request, Why)
            await sources.port.stop(visitor(request).person or "", via="page", reason=asked.reason)
        except CustodeError as error:
            return notes.refuse(request, "/stop", error)
        return notes.leave(request, "/stop", Note("All actions are stopped; what runs stops after its step."))

    async def release(request: web.Request) -> web.Response:
        try:
            await read_form(request, Input)
            switch = await sources.port.release(visitor(request).person or "", via="page")
        except CustodeError as error:
            return notes.refuse(request, "/stop", error)
        if switch.stopped:
            return notes.leave(request, "/stop", Note(f"Still stopped, by {switch.by}: remove it there.", good=False))
        return notes.leave(request, "/stop", Note("Actions begin again."))

    return [
        Route("GET", "/stop", show, Role.VIEWER, "Whether all actions are stopped"),
        Route("POST", "/stop", stop, Role.OPERATOR, "Stop all actions", body=Why),
        Route("POST", "/stop/release", release, Role.OPERATOR, "Let actions begin again", body=Input),
    ]
