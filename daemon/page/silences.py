"""/silences: those that last, those to come and those that have ended; a form for a new one, with what it hits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, StringConstraints

from daemon.page.forms import filters, read_fields, read_form, validated
from daemon.page.frame import Frame
from daemon.page.notes import LONGEST, Note, Notes, query_of, refusal
from daemon.page.sources import Sources
from daemon.silences import Matcher, SilenceView
from daemon.silences import matchers_for as identifying
from daemon.web._actions_input import BadInputError, Input
from daemon.web.access import Role, visitor
from daemon.web.routes import Route
from fleet.durations import Duration
from fleet.errors import CustodeError
from rules import AlertView, State

_ID = "{id:[0-9a-f]{1,32}}"
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
DURATIONS = ("30m", "1h", "2h", "8h", "24h", "7d")
_DEFAULT = "2h"
_SHOWN = 100
_Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]


def _pairs(text: str) -> str:
    for line in filter(str.strip, text.split("\n")):
        name, separator, value = line.partition("=")
        if not (separator and value and _LABEL.fullmatch(name.strip())):
            raise ValueError("write one label a line, as name=value")
    return text


class Asked(Input):
    """`labels` holds name=value lines; an alert must have all of them. `duration` begins now.

    A line end in a value is written as \\n, and a backslash twice.
    """

    labels: Annotated[_Text, AfterValidator(_pairs)] = ""
    duration: Duration | None = None
    comment: _Text = ""

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        pairs = (line.partition("=") for line in filter(str.strip, self.labels.split("\n")))
        return tuple(Matcher(name.strip(), _unescaped(value)) for name, _, value in pairs)


class Longer(Input):
    duration: Duration


@dataclass(frozen=True, slots=True)
class _Form:
    """The texts that stand in it, and which alerts they hit now; None where that was not asked."""

    labels: str = ""
    duration: str = _DEFAULT
    comment: str = ""
    hits: list[AlertView] | None = None


def routes(sources: Sources, frame: Frame) -> list[Route]:
    pages = _Pages(sources, frame)
    return [
        Route("GET", "/silences", pages.all, Role.VIEWER, "Silences, and the form for a new one"),
        Route("POST", "/silences/preview", pages.preview, Role.OPERATOR, "What a silence would hit", body=Asked),
        Route("POST", "/silences", pages.create, Role.OPERATOR, "Silence alerts", body=Asked),
        Route("POST", f"/silences/{_ID}/extend", pages.extend, Role.OPERATOR, "Let one last longer", body=Longer),
        Route("POST", f"/silences/{_ID}/expire", pages.expire, Role.OPERATOR, "End a silence", body=Input),
    ]


class _Pages:
    def __init__(self, sources: Sources, frame: Frame) -> None:
        self._sources = sources
        self._frame = frame
        self._notes = Notes(sources.now)

    async def all(self, request: web.Request) -> web.Response:
        note = self._notes.read(request)
        try:
            form = await self._form(filters(request))
        except CustodeError as error:
            note, form = refusal(error), _Form()
        return await self._show(request, form, note)

    async def _show(self, request: web.Request, form: _Form, note: Note | None = None, **shared: Any) -> web.Response:
        now = self._sources.now()
        silences = await self._sources.silences.recent()
        alerts = await self._lasting()
        active = [one for one in silences if one.active(now)]
        hit = {one.id: [alert for alert in alerts if one.silences(alert.labels)] for one in active}
        return await self._frame.page(
            request,
            "silences.html",
            note=note,
            form=form,
            active=active,
            pending=[one for one in silences if one.expired_at is None and one.starts_at > now],
            ended=[one for one in silences if one.expired_at is not None or one.ends_at <= now][:_SHOWN],
            hit=hit,
            durations=DURATIONS,
            mirrored=bool(self._sources.settings().alertmanager.urls),
            **shared,
        )

    async def preview(self, request: web.Request) -> web.Response:
        """Shown by the address that it leads to, which people can pass on, unless that were too long."""
        try:
            said = await read_fields(request)
            validated(Asked, said)
        except CustodeError as error:
            return self._notes.refuse(request, "/silences", error)
        query = query_of(said)
        if len(query) > LONGEST:
            return await self._show(request, await self._form(said), here="/silences")
        return web.Response(status=303, headers={"Location": f"/silences{query}#new"})

    async def create(self, request: web.Request) -> web.Response:
        said: dict[str, str] = {}
        try:
            said = await read_fields(request)
            asked = validated(Asked, said)
            if asked.duration is None:
                raise BadInputError("it is not said how long it lasts")
            made = await self._sources.silences.create(
                asked.matchers,
                asked.duration.total_seconds(),
                visitor(request).person or "",
                via="page",
                comment=asked.comment,
            )
        except CustodeError as error:
            kept = {name: value for name, value in said.items() if name in Asked.model_fields}
            if len(query_of(kept)) > LONGEST:
                form = _Form(kept.get("labels", ""), kept.get("duration", _DEFAULT), kept.get("comment", ""))
                return await self._show(request, form, refusal(error))
            return self._notes.refuse(request, "/silences", error, **kept)
        return self._notes.leave(request, "/silences", Note(f"Silenced: {_words(made)}."))

    async def extend(self, request: web.Request) -> web.Response:
        try:
            asked = await read_form(request, Longer)
            changed = await self._sources.silences.extend(
                request.match_info["id"], asked.duration.total_seconds(), visitor(request).person or "", via="page"
            )
        except CustodeError as error:
            return self._notes.refuse(request, "/silences", error)
        return self._notes.leave(request, "/silences", Note(f"It lasts longer now: {_words(changed)}."))

    async def expire(self, request: web.Request) -> web.Response:
        try:
            await read_form(request, Input)
            ended = await self._sources.silences.expire(
                request.match_info["id"], visitor(request).person or "", via="page"
            )
        except CustodeError as error:
            return self._notes.refuse(request, "/silences", error)
        return self._notes.leave(request, "/silences", Note(f"Ended: {_words(ended)}."))

    async def _form(self, said: Mapping[str, str]) -> _Form:
        """Of an address: as the form sends it, or the labels of an alert as they are. Raises BadInputError."""
        mine = {name: value for name, value in said.items() if name in Asked.model_fields}
        others = {name: value for name, value in said.items() if name not in mine}
        if others:
            lines = [f"{one.name}={_escaped(one.value)}" for one in identifying(others)]
            mine["labels"] = "\n".join([*lines, *([mine["labels"]] if "labels" in mine else [])])
        asked = validated(Asked, mine)
        wanted = SilenceView("", asked.matchers, 0.0, 0.0, "", "")
        alerts = await self._lasting() if wanted.matchers else None
        hits = alerts and [alert for alert in alerts if wanted.silences(alert.labels)]
        return _Form(asked.labels, mine.get("duration", _DEFAULT), asked.comment, hits)

    async def _lasting(self) -> list[AlertView]:
        alerts = await asyncio.to_thread(self._sources.judged.alerts)
        return [alert for alert in alerts if alert.state in {State.FIRING, State.PENDING}]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _unescaped(value: str) -> str:
    return re.sub(r"\\([\\n])", lambda found: "\n" if found[1] == "n" else "\\", value)


def _words(silence: SilenceView) -> str:
    return " ".join(f"{one.name}={one.value}" for one in silence.matchers)
