"""GET and POST /login, POST /logout: a browser is signed in by a token, or by a name and a password."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import Field

from daemon.page.forms import read_form
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.web._actions_input import Input
from daemon.web._actions_reply import status_of
from daemon.web.access import Role, visitor
from daemon.web.access.cookies import cookie_name, over_tls
from daemon.web.access.errors import TooManyFailuresError
from daemon.web.routes import Route
from fleet.errors import CustodeError

_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")
_Word = Annotated[str, Field(max_length=4096)]
_OWN = ("/login", "/logout")


class SignIn(Input):
    user: _Word = ""
    password: _Word = ""
    token: _Word = ""
    next: _Word = "/"


def routes(sources: Sources, frame: Frame) -> list[Route]:
    access = sources.access

    async def show(request: web.Request) -> web.Response:
        back = local_path(request.query.get("next", "/"))
        if visitor(request).person is not None:
            raise web.HTTPSeeOther(back)
        return await _form(request, back)

    async def _form(request: web.Request, back: str, error: CustodeError | None = None) -> web.Response:
        response = await frame.page(
            request,
            "login.html",
            200 if error is None else status_of(error)[0],
            next=back,
            error=error,
            by_password=access.knows_users,
            by_token=access.knows_tokens,
            hint=access.token_hint,
        )
        if isinstance(error, TooManyFailuresError):
            response.headers["Retry-After"] = str(error.seconds)
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            # a link elsewhere led here, and so the browser kept the cookie back; once more from here, and it sends it
            response.headers["Refresh"] = f"0; url={request.path_qs}"
        return response

    async def sign_in(request: web.Request) -> web.Response:
        sent = await read_form(request, SignIn)
        back = local_path(sent.next)
        try:
            session = await access.sign_in(request, user=sent.user, password=sent.password, token=sent.token.strip())
        except CustodeError as error:
            return await _form(request, back, error)
        response = web.HTTPSeeOther(back)
        response.set_cookie(
            cookie_name(request), session, path="/", httponly=True, samesite="Strict", secure=over_tls(request)
        )
        raise response

    async def sign_out(request: web.Request) -> web.Response:
        access.sign_out(request)
        response = web.HTTPSeeOther("/login")
        response.del_cookie(cookie_name(request), path="/", httponly=True, samesite="Strict", secure=over_tls(request))
        raise response

    return [
        Route("GET", "/login", show, Role.PUBLIC, "The form to sign in"),
        # that it comes from a page of ours, its Origin says
        Route("POST", "/login", sign_in, Role.PUBLIC, "Sign a browser in", body=SignIn, forgeable=False),
        Route("POST", "/logout", sign_out, Role.PUBLIC, "Sign a browser out"),
    ]


def local_path(text: str) -> str:
    """A path of ours, to go to; that of the first page where `text` would lead elsewhere, or round in a circle."""
    if not _LOCAL.fullmatch(text) or urlsplit(text).netloc or urlsplit(text).path in _OWN:
        return "/"
    return text
