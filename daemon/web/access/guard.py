"""What stands before every route: finds out who asks, and lets through to what is open to them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from daemon.actions.port import NotAllowedError
from daemon.web._actions_reply import failure
from daemon.web.access.access import Access
from daemon.web.access.csrf import READING, comes_from_elsewhere
from daemon.web.access.errors import ForgedError, MisdirectedError, TooManyFailuresError, UnidentifiedError
from daemon.web.access.hosts import is_loopback
from daemon.web.access.people import is_own_account, peer_uid
from daemon.web.access.proxies import CLIENT
from daemon.web.access.tls import names_fit
from daemon.web.access.visitor import VISITOR, Role, Visitor, visitor
from daemon.web.routes import Route, route_of
from fleet.errors import CustodeError, SecretError

log = structlog.get_logger()

LOGIN = "/login"
# what reads again the configuration that is there
RELOAD = "/-/reload"
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


def guarding(access: Access) -> Middleware:
    """The middleware. It stands before all others, and sets `request[VISITOR]`."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = route_of(request)
        try:
            uid = peer_uid(request)
            if uid is None:
                await _remote(access, request, route)
            else:
                await _local(access, request, uid, route)
        except CustodeError as error:
            return _refused(access, request, route, error)
        if route is None and request.match_info.http_exception is None:
            log.error("route_not_declared", path=request.path)
            raise web.HTTPNotFound
        return await handler(request)

    return guard


async def _local(access: Access, request: web.Request, uid: int, route: Route | None) -> None:
    """Over the control socket, no page of another site can send anything."""
    request[VISITOR] = seen = await access.local(uid)
    if route is None or seen.role >= route.role:
        return
    if route.path != RELOAD or not (is_own_account(uid) or access.knows_nobody):
        access.count("role")
        if seen.person is None:
            raise await access.refuse_local(uid)
        raise _not_enough(seen, route)


async def _remote(access: Access, request: web.Request, route: Route | None) -> None:
    request[CLIENT] = access.client_of(request)
    if wait := access.wait_for_turn():
        raise TooManyFailuresError(wait, "too many requests")
    if not access.policy.hosts.fits(request.headers.get(hdrs.HOST)):
        access.count("host")
        raise MisdirectedError(
            "the name by which this was asked for is not known here",
            hint="ask by address, or write the name to access.hosts in custode.yml",
        )
    tls = access.policy.web.tls_server_config
    if tls is not None and tls.client_allowed_sans:
        certificate = request.get_extra_info("peercert")
        if not names_fit(certificate, tls.client_allowed_sans):
            access.count("certificate")
            raise NotAllowedError("the names in the client's certificate are not allowed here")
    changes = request.method not in READING
    if changes and comes_from_elsewhere(request, access.policy.external_url):
        access.count("forged")
        raise ForgedError("requests from other sites are refused")
    if route is None:
        return
    seen = await _admitted(access, request, route)
    if changes and route.forgeable and seen.csrf and not await access.csrf.fits(request, seen.csrf):
        access.count("forged")
        raise ForgedError(
            "the token against forged requests is missing or wrong",
            hint="load the page again; programs send a bearer token instead of a password",
        )


async def _admitted(access: Access, request: web.Request, route: Route) -> Visitor:
    """The visitor, where the route is open to them."""
    if route.role is Role.PUBLIC:
        with suppress(SecretError):  # who is signed in cannot be told now, and need not be
            request[VISITOR] = _or_anybody(access, await access.of_session(request))
        return visitor(request)
    request[VISITOR] = seen = _or_anybody(access, await access.remote(request))
    if seen.role >= route.role or (route.path == RELOAD and _may_reload(access, request, seen)):
        return seen
    if seen.person is None:
        raise UnidentifiedError("who asks is not known", hint=access.token_hint)
    access.count("role")
    raise _not_enough(seen, route)


def _or_anybody(access: Access, seen: Visitor) -> Visitor:
    return Visitor(None, Role.VIEWER, "http") if seen.person is None and access.open_to_read else seen


def _may_reload(access: Access, request: web.Request, seen: Visitor) -> bool:
    local = is_loopback(request.remote or "") and not any(name in request.headers for name in _PROXIED)
    return seen.person is None and local and not access.knows_anybody


def _not_enough(seen: Visitor, route: Route) -> NotAllowedError:
    return NotAllowedError(
        f"{seen.person} has the role {seen.role.name.lower()} here, and this needs {route.role.name.lower()}",
        hint="access.roles in custode.yml says who has which role",
    )


def _refused(access: Access, request: web.Request, route: Route | None, error: CustodeError) -> web.StreamResponse:
    """Pages send people to where they sign in; programs are told."""
    nobody = isinstance(error, UnidentifiedError)
    for_people = "text/html" in request.headers.get(hdrs.ACCEPT, "") and not (route is not None and route.in_api)
    if nobody and hdrs.AUTHORIZATION not in request.headers:
        if "HX-Request" in request.headers:
            shown = _path_of(request.headers.get("HX-Current-URL", ""))
            return web.Response(status=401, headers={"HX-Redirect": f"{LOGIN}?next={quote(shown)}"})
        if for_people:
            back = request.path_qs if request.method == "GET" else "/"
            raise web.HTTPSeeOther(f"{LOGIN}?next={quote(back, safe='/')}")
    told = failure(request, error)
    if (
        nobody
        and access.policy.web.basic_auth_users
        and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    ):
        # scripts of a page must not make the browser ask for a password
        told.headers.add(hdrs.WWW_AUTHENTICATE, 'Basic realm="Custode", charset="UTF-8"')
    text = f"{error.message[:1].upper()}{error.message[1:]}.\n" + (f"{error.hint}\n" if error.hint else "")
    if for_people and told.status in _SHOWN:
        kept = {name: told.headers[name] for name in (hdrs.RETRY_AFTER,) if name in told.headers}
        raise _SHOWN[told.status](text=text, headers=kept)  # for whoever shows errors in the frame of the page
    if route is None or not route.in_api:
        told.content_type = "text/plain"
        told.text = text
    return told


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path or "/"
    except ValueError:
        return "/"


_SHOWN: Mapping[int, type[web.HTTPException]] = {
    403: web.HTTPForbidden,
    421: web.HTTPMisdirectedRequest,
    429: web.HTTPTooManyRequests,
    503: web.HTTPServiceUnavailable,
}
