"""Pages over a real engine, silences and state database, as a browser without scripts sees and uses them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from daemon.alerting import RuleThread
from daemon.config import AccessSettings, OperatorSettings, Settings, parse
from daemon.exposition import Page
from daemon.page import actions, configuration, ledger, silences, stop
from daemon.page.errors import error_pages
from daemon.page.frame import Frame
from daemon.page.live import Live
from daemon.page.sources import Sources
from daemon.queries import Queries
from daemon.silences import Silences
from daemon.status import Board
from daemon.telemetry import Reload, Telemetry
from daemon.web.access import Role
from daemon.web.access.access import Access
from daemon.web.access.cookies import COOKIE
from daemon.web.access.policy import AccessPolicy
from daemon.web.routes import Route, add_routes
from daemon.web.server import WebServer
from fleet.secrets import Secrets, SecretText
from rules import AlertView, GroupView, SampleStore
from tests.integration.engines import Daemon

ENVIRONMENTS = {"dev": "development", "qa": "qa", "qa2": "qa", "preprod": "preprod", "prod": "production"}
CONFIGURATION = "environments:\n" + "".join(
    f"  {name}: {{tier: {tier}, dsn: postgresql://u@h/d}}\n" for name, tier in ENVIRONMENTS.items()
)


@dataclass
class Alerts:
    """What is firing, as the test says."""

    lasting: list[AlertView] = field(default_factory=list)

    def groups(self, *, rules: bool = True) -> list[GroupView]:
        raise AssertionError(f"nobody looks at groups here (rules={rules})")

    def alerts(self) -> list[AlertView]:
        return self.lasting


@dataclass(frozen=True)
class Form:
    """A form of a page: where it goes, and what it sends."""

    method: str
    action: str
    fields: Mapping[str, str]
    names: Sequence[str]  # of all that can be filled in
    required: frozenset[str]
    buttons: Mapping[str, str]  # what stands on them, and where they go instead


_INLINE = frozenset({"a", "span", "strong", "time", "code"})


class _Reader(HTMLParser):
    """The forms of a page as browsers take them to be, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._form: dict[str, Any] | None = None
        self._into: tuple[str, list[str]] | None = None
        self._target = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.tags.append(tag)
        self.text += "" if tag in _INLINE else " "
        self.handlers += [name for name in said if name.startswith("on") or name == "style"]
        if tag == "form":
            fields: dict[str, str] = {}
            self._form = {"method": said.get("method", "get"), "action": said.get("action", ""), "fields": fields}
            self._form |= {"names": [], "required": set(), "buttons": {}}
        if self._form is None:
            return
        name = said.get("name")
        if name is not None and tag in {"input", "textarea", "select"}:
            self._form["names"].append(name)
            if "required" in said:
                self._form["required"].add(name)
        if tag == "input" and name is not None and said.get("type") != "checkbox":
            self._form["fields"][name] = said.get("value") or ""
        elif tag in {"textarea", "button"}:
            self._into, self._target = (tag if tag == "button" else name or "", []), said.get("formaction") or ""
        elif tag == "select":
            self._select, self._first = name or "", True
        elif tag == "option":
            self._into, self._target = ("option", []), said.get("value", "\0") or ""
            if "selected" in said or self._first:
                self._form["fields"][self._select] = self._target
                self._chosen = self._target == "\0"
            else:
                self._chosen = False
            self._first = False

    def handle_endtag(self, tag: str) -> None:
        if self._form is None:
            return
        if tag in {"textarea", "button", "option"} and self._into is not None:
            name, text = self._into[0], "".join(self._into[1])
            if tag == "textarea":
                self._form["fields"][name] = text.removeprefix("\n")
            elif tag == "button":
                self._form["buttons"][text] = self._target
            elif self._chosen:
                self._form["fields"][self._select] = text
            self._into = None
        if tag == "form":
            form = self._form
            self.forms.append(Form(**(form | {"required": frozenset(form["required"])})))
            self._form = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[1].append(data)
        self.text += data


@dataclass(frozen=True)
class Seen:
    """A page: `text` is what people read of it."""

    status: int
    url: str
    html: str
    text: str
    forms: Sequence[Form]
    tags: Sequence[str]
    handlers: Sequence[str]

    def form(self, action: str) -> Form:
        """The only one of method post that goes there."""
        (found,) = [form for form in self.forms if form.action == action and form.method == "post"]
        return found

    def offered(self) -> set[str]:
        """The last words of where forms of method post go, without that by which one signs out."""
        return {form.action.rpartition("/")[2] for form in self.forms if form.method == "post"} - {"logout"}


@dataclass
class PageSite:
    session: aiohttp.ClientSession
    daemon: Daemon
    alerts: Alerts
    silences: Silences
    settings: list[Settings]  # the last one holds
    reload: list[Reload]
    cookies: dict[str, str] = field(default_factory=dict)

    async def signed_in(self, person: str | None) -> dict[str, str]:
        """The headers of a browser in which this person has signed in; None: nobody has."""
        if person is None:
            return {"Accept": "text/html"}
        if person not in self.cookies:
            async with self.session.get(f"/sign-in/of-{person}") as answer:
                self.cookies[person] = await answer.text()
        return {"Accept": "text/html", "Cookie": f"{COOKIE}={self.cookies[person]}"}

    async def get(self, path: str, person: str | None = "anna") -> Seen:
        async with self.session.get(path, headers=await self.signed_in(person)) as answer:
            return _seen(answer.status, str(answer.url.relative()), await answer.text())

    async def send(
        self, form: Form, person: str | None = "anna", *, button: str = "", **filled: str
    ) -> tuple[int, str, str]:
        """Fill in a form and press a button; returns status, where it leads, and the body."""
        headers = await self.signed_in(person)
        said = dict(form.fields) | filled
        if person is not None and form.fields.get("csrf"):  # of the form that this person would have seen
            said["csrf"] = filled.get("csrf") or (await self.get("/stop", person)).form("/logout").fields["csrf"]
        to = form.buttons.get(button, "") or form.action
        async with self.session.post(to, data=said, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers.get("Location", ""), await answer.text()

    async def press(self, form: Form, person: str = "anna", *, button: str = "", **filled: str) -> Seen:
        """The same, and go where it leads."""
        status, location, body = await self.send(form, person, button=button, **filled)
        if status == 303:
            return await self.get(location, person)
        return _seen(status, form.action, body)


def _seen(status: int, url: str, html: str) -> Seen:
    reader = _Reader()
    reader.feed(html)
    return Seen(status, url, html, " ".join(reader.text.split()), reader.forms, reader.tags, reader.handlers)


@asynccontextmanager
async def page_site(daemon: Daemon, folder: Path, text: str = CONFIGURATION) -> AsyncIterator[PageSite]:
    means = daemon.engine.means
    alerts, held, reload = Alerts(), [parse(text, folder / "custode.yml")], [Reload(time.time())]
    quiet = Silences(daemon.state, means.ledger, means.operators, now=means.now)
    thread, secrets = RuleThread(), Secrets(time.monotonic)
    policy = AccessPolicy(AccessSettings(anonymous=True))
    access = Access(policy, means.operators, secrets, now=means.now, monotonic=time.monotonic)

    async def sign_in(request: web.Request) -> web.Response:
        return web.Response(text=await access.sign_in(request, user="", password="", token=request.match_info["token"]))

    async def no_board() -> Board:
        raise AssertionError("nobody looks at the board here")

    async def no_reload() -> None:
        raise AssertionError("nobody reloads here")

    sources = Sources(
        settings=lambda: held[-1],
        board=no_board,
        judged=alerts,
        queries=Queries(SampleStore(), thread, now=means.now),
        port=daemon.people,
        silences=quiet,
        operators=means.operators,
        actions=means.actions,
        stores=dict,
        secrets=secrets,
        live=Live(),
        access=access,
        address=lambda: "http://custode.example",
        now=means.now,
        reload=lambda: reload[-1],
    )
    frame = Frame(sources)

    def register(application: web.Application) -> None:
        for module in (actions, stop, silences, ledger, configuration):
            add_routes(application, module.routes(sources, frame))
        add_routes(application, [Route("GET", "/sign-in/{token}", sign_in, Role.PUBLIC, "For tests")])
        application.middlewares.insert(0, error_pages(frame))

    server = WebServer(
        Page(Telemetry().render), not_ready=lambda: None, reload=no_reload, register=[register], access=access
    )
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(server.address) as session:
            yield PageSite(session, daemon, alerts, quiet, held, reload)
    finally:
        await server.stop()
        thread.close()


def operator(name: str, **fields: Any) -> OperatorSettings:
    """A person who can sign in, once the variable of their token is set."""
    return OperatorSettings(token=SecretText(f"env:TOKEN_OF_{name.upper()}"), **fields)
