"""The API of silences. Reading is open; whether a person may silence is decided where silences are kept."""

from __future__ import annotations

import re
from typing import Annotated

from aiohttp import web
from pydantic import Field, StringConstraints

from daemon.silences import Matcher, Silences, SilenceView, UnknownSilenceError
from daemon.web._actions_input import Input, Nothing, read_body, read_query
from daemon.web._actions_reply import Answers, answering
from daemon.web.access import Role
from daemon.web.identity import Identity
from daemon.web.routes import Register, Route, registering

_ID = re.compile(r"[0-9a-f]{1,32}")
_Word = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class Labels(Input):
    """The labels that an alert must have, all of them, in full."""

    labels: Annotated[dict[_Word, _Word], Field(min_length=1, max_length=50)]
    seconds: Annotated[float, Field(gt=0)]
    comment: Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] = ""


class Longer(Input):
    seconds: Annotated[float, Field(gt=0)]


def silence_routes(silences: Silences, identity: Identity) -> Register:
    """The routes /api/v1/silences."""

    async def recent(request: web.Request) -> object:
        read_query(request, Nothing)
        return await silences.recent()

    async def create(request: web.Request) -> object:
        asker, asked = await identity.of(request), await read_body(request, Labels)
        matchers = [Matcher(name, value) for name, value in sorted(asked.labels.items())]
        return await silences.create(matchers, asked.seconds, asker.person, via=asker.via, comment=asked.comment)

    async def extend(request: web.Request) -> SilenceView:
        asker, asked = await identity.of(request), await read_body(request, Longer)
        return await silences.extend(_id(request), asked.seconds, asker.person, via=asker.via)

    async def expire(request: web.Request) -> SilenceView:
        asker = await identity.of(request)
        await read_body(request, Nothing)
        return await silences.expire(_id(request), asker.person, via=asker.via)

    path = "/api/v1/silences"

    def changes(path: str, answers: Answers, summary: str, body: type[Input]) -> Route:
        return Route("POST", path, answering(answers), Role.OPERATOR, summary, body=body, answer=SilenceView)

    reads = answering(recent)
    return registering(
        Route("GET", path, reads, Role.VIEWER, "Silences, newest first", query=Nothing, answer=list[SilenceView]),
        changes(path, create, "Silence alerts that have all of these labels", Labels),
        changes(f"{path}/{{id}}/extend", extend, "Let a silence last longer", Longer),
        changes(f"{path}/{{id}}/expire", expire, "End a silence", Nothing),
    )


def _id(request: web.Request) -> str:
    text = request.match_info["id"]
    if _ID.fullmatch(text) is None:
        raise UnknownSilenceError(f"there is no silence {text[:64]!r}")
    return text
