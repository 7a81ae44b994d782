"""/actions/new: choose an action and where, fill in its parameters, see the plan, ask for it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from actions import Action
from daemon.actions.request import Request, Source
from daemon.actions.views import Preview
from daemon.page import parameters
from daemon.page.forms import SURE, be_sure, filters, read_fields, validated
from daemon.page.frame import Frame
from daemon.page.notes import LONGEST, Note, Notes, query_of, refusal
from daemon.page.sources import Sources
from daemon.page.standing import CONSENT, HARMFUL, SIGNS
from daemon.web._actions_input import Ask
from daemon.web.access import Role, visitor
from daemon.web.routes import Route
from fleet.environment import Environment
from fleet.errors import CustodeError
from fleet.policy import Consent, Risk

_MINE = ("action", "environment", "reason", "key")
_PARAMETER = "p."  # before the name of a parameter in a form, so that it may be called like one of ours


@dataclass(frozen=True, slots=True)
class Wanted:
    """What stands in the form: names of what may not be there, and texts."""

    environment: str = ""
    action: str = ""
    reason: str = ""
    key: str | None = None
    given: Mapping[str, str] | None = None

    def fields(self) -> dict[str, str]:
        """As a form sends them, without the key."""
        mine = {"environment": self.environment, "action": self.action, "reason": self.reason}
        return mine | {f"{_PARAMETER}{name}": value for name, value in (self.given or {}).items()}


def routes(sources: Sources, frame: Frame, notes: Notes) -> list[Route]:
    asking = _Asking(sources, frame, notes)
    return [
        Route("GET", "/actions/new", asking.form, Role.VIEWER, "The form to ask for an action"),
        Route("POST", "/actions/preview", asking.preview, Role.OPERATOR, "What an action would do", body=Ask),
        Route("POST", "/actions/new", asking.ask, Role.OPERATOR, "Ask for an action", body=Ask),
    ]


def prefill(said: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of a run as the address of the form has them."""
    return {f"{_PARAMETER}{name}": _line(value) for name, value in said.items() if value is not None}


class _Asking:
    def __init__(self, sources: Sources, frame: Frame, notes: Notes) -> None:
        self._sources = sources
        self._frame = frame
        self._notes = notes

    async def form(self, request: web.Request) -> web.Response:
        return await self._show(request, _read(filters(request)))

    async def preview(self, request: web.Request) -> web.Response:
        """A page, not a way to one: nothing was changed, and loading it anew makes the plan anew."""
        try:
            wanted = _read(await read_fields(request))
        except CustodeError as error:
            return self._notes.refuse(request, "/actions/new", error)
        try:
            asked = self._asked(wanted, visitor(request).person or "")
            return await self._show(request, wanted, preview=await self._sources.port.preview(asked))
        except CustodeError as error:
            return await self._show(request, wanted, note=refusal(error))
        except TimeoutError:
            return await self._show(request, wanted, note=Note("It took too long to find out.", good=False))

    async def ask(self, request: web.Request) -> web.Response:
        wanted = Wanted()
        try:
            fields = await read_fields(request)
            sure = fields.pop(SURE, None)
            wanted = _read(fields)
            asked = self._asked(wanted, visitor(request).person or "")
            if self._risk(wanted) in HARMFUL:
                be_sure(sure)
            made = await self._sources.port.submit(asked)
        except CustodeError as error:
            said = wanted.fields()
            if len(query_of(said)) > LONGEST:
                return await self._show(request, wanted, note=refusal(error))
            return self._notes.refuse(request, "/actions/new", error, **said)
        said_of = "Asked for." if made.new else f"{made.note[:1].upper()}{made.note[1:]}."
        return self._notes.leave(request, f"/actions/{made.run.id}", Note(said_of))

    def _asked(self, wanted: Wanted, person: str) -> Request:
        """Raises BadInputError."""
        action = self._sources.actions.get(wanted.action)
        given = wanted.given or {}
        read = given if action is None else parameters.read(action.parameters(), given)
        said = {"action": wanted.action, "environment": wanted.environment, "reason": wanted.reason}
        asked = validated(Ask, said | {"parameters": read, "key": wanted.key})
        return Request(
            environment=asked.environment,
            action=asked.action,
            key=f"person:{asked.key or uuid.uuid4().hex}",
            requested_by=person,
            at=self._sources.now(),
            source=Source.PERSON,
            reason=asked.reason,
            parameters=asked.parameters,
        )

    def _risk(self, wanted: Wanted) -> Risk | None:
        """None where the parameters make no sense: then it is refused anyway."""
        action = self._sources.actions.get(wanted.action)
        if action is None:
            return None
        model = action.parameters()
        try:
            return action.risk_of(model.model_validate(parameters.read(model, wanted.given or {})))
        except ValueError:
            return None

    async def _show(
        self, request: web.Request, wanted: Wanted, *, preview: Preview | None = None, note: Note | None = None
    ) -> web.Response:
        settings = self._sources.settings()
        action, environment = self._sources.actions.get(wanted.action), settings.environments.get(wanted.environment)
        ready = action is not None and environment is not None
        fields = parameters.fields(action.parameters(), wanted.given or {}) if action is not None and ready else []
        known = {field.name for field in fields}
        return await self._frame.page(
            request,
            "action_new.html",
            note=note or self._notes.read(request),
            wanted=wanted,
            ready=ready,
            action=action,
            risk=None if action is None else action.risk,
            consent=_consent(environment, action),
            fields=fields,
            strange=sorted(set(wanted.given or {}) - known) if ready else [],
            preview=preview,
            harmful=preview is not None and Risk(preview.risk) in HARMFUL,
            preview_consent=CONSENT[Consent(preview.consent)] if preview is not None and preview.consent else "",
            key=uuid.uuid4().hex,
            environments=list(settings.environments),
            by_risk=_by_risk(self._sources.actions),
            signs=SIGNS,
        )


def _read(said: Mapping[str, str]) -> Wanted:
    """Of a form or an address; in an address, parameters may stand without what is put before them."""
    mine = {name: said[name] for name in _MINE if name in said}
    given = {name.removeprefix(_PARAMETER): value for name, value in said.items() if name not in _MINE}
    return Wanted(**mine, given=given)


def _consent(environment: Environment | None, action: Action[Any] | None) -> str:
    if environment is None or action is None:
        return ""
    return CONSENT[environment.policy.consent.of(action.risk, action.name)]


def _by_risk(actions: Mapping[str, Action[Any]]) -> Mapping[str, list[Action[Any]]]:
    found = {risk.value: [action for action in actions.values() if action.risk is risk] for risk in Risk}
    return {risk: some for risk, some in found.items() if some}


def _line(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return "\n".join(_line(one) for one in value)
        case str():
            return value
        case _:
            return to_json(value).decode()
