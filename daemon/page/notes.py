"""What is said on the page after a form was sent. The address names it; the words stay here."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from daemon.web.access import visitor
from fleet.errors import CustodeError

LONGEST = 6000  # bytes of a query that browsers, proxies and we take for certain
_KEPT_SECONDS = 600.0
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """`hint` says what one can do about it."""

    text: str
    good: bool = True
    hint: str = ""


@dataclass(frozen=True, slots=True)
class _Kept:
    note: Note
    person: str | None
    until: float


class Notes:
    """Kept for a few minutes, and shown to the one they are for. `now` is unix seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def read(self, request: web.Request) -> Note | None:
        """The note that an address names."""
        kept = self._kept.get(request.query.get("note", ""))
        mine = kept is not None and kept.person == visitor(request).person and self._now() < kept.until
        return kept.note if mine and kept is not None else None

    def leave(self, request: web.Request, to: str, note: Note, **query: Any) -> web.Response:
        """The answer to a form: go and look there, where the note is shown."""
        code = secrets.token_urlsafe(12)
        self._kept[code] = _Kept(note, visitor(request).person, self._now() + _KEPT_SECONDS)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)
        said = urlencode([*((name, value) for name, value in query.items() if value), ("note", code)])
        return web.Response(status=303, headers={"Location": f"{to}?{said}"})

    def refuse(self, request: web.Request, to: str, error: CustodeError, **query: Any) -> web.Response:
        """The same where nothing was done, in the words of who refused it."""
        return self.leave(request, to, refusal(error), **query)


def refusal(error: CustodeError) -> Note:
    return Note(error.message, good=False, hint=error.hint or "")


def query_of(values: Mapping[str, Any], **more: Any) -> str:
    """`?a=b` of what is said, `` where nothing is."""
    said = [(name, value) for name, value in {**values, **more}.items() if value not in (None, "", ())]
    return f"?{urlencode(said)}" if said else ""
