"""Who a request comes from and what is open to them; `guard` finds it out, handlers read it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from aiohttp import web


class Role(IntEnum):
    """What is open to a visitor; each may all that the ones before may. PUBLIC needs nobody to be known."""

    PUBLIC = 0
    VIEWER = 1  # reads
    OPERATOR = 2  # asks, answers, silences, within what `operators` of the configuration allow
    ADMIN = 3  # reloads


@dataclass(frozen=True, slots=True)
class Visitor:
    """`via` is cli (the control socket), http (a token or password) or page (a session of a browser).

    `person` is None where nobody is known, `csrf` what forms of the page must send back.
    """

    person: str | None
    role: Role
    via: str
    csrf: str = ""


NOBODY = Visitor(None, Role.PUBLIC, "http")
VISITOR = web.RequestKey("visitor", Visitor)


def visitor(request: web.Request) -> Visitor:
    """The visitor that the guard has found; nobody where no guard stands before the handler."""
    found: Visitor = request.get(VISITOR, NOBODY)
    return found
