"""What a page of another site makes somebody's browser send (cross-site request forgery)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from daemon.web._actions_input import READ_SECONDS, BadInputError, SlowInputError

HEADER = "X-CSRF-Token"
FIELD = "csrf"
READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM = "application/x-www-form-urlencoded"


def comes_from_elsewhere(request: web.Request, external_url: str | None) -> bool:
    """Whether a browser says that a page of another site sends this. Tools send neither header."""
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        if urlsplit(origin).netloc == request.host:
            return False
    except ValueError:  # no browser of ours writes so
        return True
    ours = urlsplit(external_url or "")
    return not ours.netloc or origin != f"{ours.scheme}://{ours.netloc}"


class Csrf:
    """Tokens that a page of ours sends back with every change; others cannot read them."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def token(self, subject: bytes) -> str:
        """The token of a session, or of a user."""
        return hmac.new(self._key, subject, hashlib.sha256).hexdigest()

    @staticmethod
    async def fits(request: web.Request, expected: str) -> bool:
        """Whether the request carries the token, in a header or a form.

        Raises:
            SlowInputError: the form did not come. BadInputError: it cannot be read.
            HTTPRequestEntityTooLarge: it is too large.
        """
        sent: object = request.headers.get(HEADER)
        if sent is None and request.content_type == _FORM:
            sent = (await read_posted(request)).get(FIELD)
        if not isinstance(sent, str):
            return False
        return hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), expected.encode())


async def read_posted(request: web.Request) -> Mapping[str, object]:
    """The fields of a form.

    Raises:
        SlowInputError: it did not come. BadInputError: it cannot be read.
        HTTPRequestEntityTooLarge: it is too large.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.post()
    except TimeoutError:
        raise SlowInputError("the form did not come") from None
    except (ValueError, LookupError):  # such as a charset that nobody knows
        raise BadInputError("the form cannot be read") from None
