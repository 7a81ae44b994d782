"""What every page has: the frame of HTML around it, who looks at it, and how figures and moments are written."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, meta

from daemon.actions.views import StopSwitch
from daemon.page import static
from daemon.page.format import FILTERS
from daemon.page.slices import Slices
from daemon.page.sources import Sources
from daemon.web.access import Role, visitor
from fleet.errors import CustodeError


@dataclass(frozen=True, slots=True)
class Tab:
    """`key` goes there after a g; `below` are other paths that belong to it."""

    title: str
    path: str
    key: str
    below: tuple[str, ...] = ()

    def holds(self, path: str) -> bool:
        return path == self.path or any(
            path.startswith(f"{one}/") for one in (self.path.rstrip("/"), *self.below) if one
        )


TABS = (
    Tab("Fleet", "/", "f", ("/environments",)),
    Tab("Alerts", "/alerts", "a"),
    Tab("Actions", "/actions", "x"),
    Tab("Backups", "/backups", "b"),
    Tab("Rules", "/rules", "r"),
    Tab("Silences", "/silences", "s"),
    Tab("Ledger", "/ledger", "l"),
    Tab("Configuration", "/configuration", "c"),
)


def make_templates() -> Environment:
    """The templates of the page; a name that is not known is an error."""
    templates = Environment(
        loader=PackageLoader("daemon.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # templates belong to the code that was started
    )
    templates.filters.update(FILTERS)
    templates.globals |= {"asset": static.address, "tabs": TABS, "version": version("custode")}
    return templates


class Frame:
    """Renders templates of `daemon/page/templates`, each of which extends `base.html`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._templates = make_templates()
        self._compiled: set[str] = set()
        self.slices = Slices()

    @property
    def filters(self) -> dict[str, Any]:
        """Of the templates; a module of the page may add its own."""
        return self._templates.filters

    @property
    def globals(self) -> dict[str, Any]:
        """Names that every template knows; a module of the page may add its own."""
        return self._templates.globals

    async def page(self, request: web.Request, template: str, status: int = 200, **context: Any) -> web.Response:
        """A whole page. `context` feeds the template beside what every page knows.

        However long it is, the event loop is not held up.
        """
        shared = await self._shared(request)
        written = await self.slices.all((await self.template(template)).generate(shared | context))
        return web.Response(status=status, body="".join(written).encode(), content_type="text/html", charset="utf-8")

    async def template(self, name: str) -> Template:
        """Compiled in a thread where it is asked for the first time."""
        if name not in self._compiled:
            await asyncio.to_thread(self._compile, name)
        return self._templates.get_template(name)

    def _compile(self, name: str) -> None:
        """With all that it names. Takes up to some tenths of a second."""
        source, _, _ = PackageLoader("daemon.page").get_source(self._templates, name)
        for other in meta.find_referenced_templates(self._templates.parse(source)):
            if other is not None and other not in self._compiled:
                self._compile(other)
        self._templates.get_template(name)
        self._compiled.add(name)

    async def _shared(self, request: web.Request) -> dict[str, Any]:
        seen = visitor(request)
        follows = seen.role >= Role.VIEWER
        return {
            "visitor": seen,
            "follows": follows,
            "may_ask": seen.role >= Role.OPERATOR and seen.person is not None,
            "csrf": seen.csrf,
            "path": request.path,
            "here": "/" + request.path_qs.lstrip("/\\"),
            "current": next((tab for tab in TABS if tab.holds(request.path)), None),
            "now": self._sources.now(),
            "address": self._sources.address(),
            "switch": await self._switch() if follows else None,
        }

    async def _switch(self) -> StopSwitch | None:
        """None while the state database is away: what can be shown without is shown."""
        try:
            return await self._sources.port.switch()
        except CustodeError:
            return None
