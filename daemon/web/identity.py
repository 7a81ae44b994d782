"""Who asks for a change: whom the guard has found."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from daemon.web.access import visitor
from daemon.web.access.errors import UnidentifiedError


@dataclass(frozen=True, slots=True)
class Asker:
    """A person, and over what: `cli` is the control socket, `http` is TCP, `page` a browser that is signed in."""

    person: str
    via: str


class Identity:
    """Names whoever sent a request."""

    async def of(self, request: web.Request) -> Asker:
        """Raises UnidentifiedError where nobody is known, which the guard lets through to no route of operators."""
        seen = visitor(request)
        if seen.person is None:
            raise UnidentifiedError("who asks is not known")
        return Asker(seen.person, seen.via)
