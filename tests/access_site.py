"""A web.yml, people with tokens and passwords, and a server behind them."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import yaml
from aiohttp import web

from daemon.actions.operators import Operators
from daemon.config import Settings, parse
from daemon.exposition import Page
from daemon.telemetry import Telemetry
from daemon.web.access import Role, visitor
from daemon.web.access.access import Access
from daemon.web.access.cookies import COOKIE
from daemon.web.access.policy import read_policy
from daemon.web.access.tokens import digest_of
from daemon.web.routes import Register, Route, registering
from daemon.web.server import WebServer
from fleet.secrets import Secrets

PASSWORDS = {"vera": "of-vera", "olga": "of-olga", "ada": "of-ada"}
TOKENS = {"viewer": "v" * 43, "operator": "o" * 43, "admin": "a" * 43}
ROLES = {"vera": "viewer", "olga": "operator", "ada": "admin"}
OPERATORS_TOKEN = "of-carla"  # noqa: S105 - of nobody


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def write_web_config(folder: Path, **sections: Any) -> Path:
    path = folder / "web.yml"
    users = {name: hashed(password) for name, password in PASSWORDS.items()}
    path.write_text(yaml.safe_dump({"basic_auth_users": users, **sections}))
    return path


def settings_with(folder: Path, access: Mapping[str, Any] | None = None, **more: Any) -> Settings:
    """A configuration with these people; `access` stands in the place of all that they have."""
    known = {
        "config_file": str(folder / "web.yml"),
        "roles": ROLES,
        "tokens": {
            name: {"sha256": digest_of(token).hex(), "role": role}
            for name, (role, token) in zip(("tv", "to", "ta"), TOKENS.items(), strict=True)
        },
    }
    document = {
        "data_dir": str(folder / "data"),
        "listen": "127.0.0.1:0",
        "environments": {"qa": {"tier": "qa", "dsn": "postgresql://nobody@localhost:1/none"}},
        "access": known if access is None else access,
        **more,
    }
    return parse(yaml.safe_dump(document), folder / "custode.yml")


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def access_of(settings: Settings, clock: Callable[[], float] = time.time) -> Access:
    people = Operators(settings.operators, "root")
    return Access(read_policy(settings), lambda: people, Secrets(clock), now=clock, monotonic=clock)


def probes(access: Access) -> Register:
    """A route of each role that says who asks, and one to sign a browser in without a form."""

    async def sign_in(request: web.Request) -> web.Response:
        user = request.query.get("user", "")
        password, token = PASSWORDS.get(user, ""), request.query.get("token", "")
        return web.Response(text=await access.sign_in(request, user=user, password=password, token=token))

    async def who(request: web.Request) -> web.Response:
        seen = visitor(request)
        shown = {"person": seen.person, "role": seen.role.name, "via": seen.via, "csrf": seen.csrf}
        return web.json_response({"status": "success", "data": shown})

    def route(method: str, path: str, role: Role, *, forgeable: bool = True) -> Route:
        return Route(method, path, who, role, "", forgeable=forgeable)

    return registering(
        *(route(method, f"/api/v1/{role.name.lower()}", role) for method in ("GET", "POST") for role in Role),
        Route("POST", "/sign-in", sign_in, Role.PUBLIC, "", forgeable=False),
        route("POST", "/api/v1/asked", Role.VIEWER, forgeable=False),
        route("GET", "/look", Role.VIEWER),
        route("POST", "/change", Role.OPERATOR),
    )


@asynccontextmanager
async def serving(
    access: Access, register: Sequence[Register], tls: ssl.SSLContext | None = None, control: Path | None = None
) -> AsyncIterator[tuple[WebServer, aiohttp.ClientSession]]:
    """A server, and a client that keeps no cookies."""

    async def reload() -> None:
        return

    server = WebServer(
        Page(Telemetry().render), not_ready=lambda: None, reload=reload, register=register, access=access
    )
    await server.start("127.0.0.1", 0, control=control)
    connector = aiohttp.TCPConnector(ssl=tls if tls is not None else True)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(server.address, connector=connector, cookie_jar=jar) as session:
        yield server, session
    await server.stop()


async def signed_in(session: aiohttp.ClientSession, user: str = "", token: str = "") -> dict[str, str]:
    """The cookie of a browser that is signed in."""
    async with session.post("/sign-in", params={"user": user, "token": token}) as answer:
        assert answer.status == 200, await answer.text()
        return {"Cookie": f"{COOKIE}={await answer.text()}"}


async def csrf_of(session: aiohttp.ClientSession, headers: Mapping[str, str]) -> str:
    """The token that a page would hold for whoever asks so."""
    async with session.get("/api/v1/viewer", headers=headers) as answer:
        found: str = (await answer.json())["data"]["csrf"]
        return found


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str | None = None) -> dict[str, str]:
    pair = f"{user}:{PASSWORDS.get(user, '') if password is None else password}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


class Site:
    def __init__(self, access: Access, server: WebServer, session: aiohttp.ClientSession) -> None:
        self.access = access
        self.server = server
        self.session = session

    async def status(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> int:
        async with self.session.request(method, path, headers=headers, allow_redirects=False, **more) as answer:
            await answer.read()
            return answer.status

    async def who(self, headers: Mapping[str, str]) -> dict[str, Any]:
        async with self.session.get("/api/v1/viewer", headers=headers) as answer:
            found: dict[str, Any] = (await answer.json())["data"]
            return found


@asynccontextmanager
async def made(access: Access, control: Path | None = None) -> AsyncIterator[Site]:
    async with serving(access, [probes(access)], control=control) as (server, session):
        yield Site(access, server, session)
