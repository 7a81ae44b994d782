"""What every page has: the frame of HTML around it, who looks at it, and how figures and moments are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from daemon.page.sources import Sources
from daemon.web.access import Role, visitor


@dataclass(frozen=True, slots=True)
class Tab:
    title: str
    path: str


TABS = (
    Tab("Fleet", "/"),
    Tab("Alerts", "/alerts"),
    Tab("Actions", "/actions"),
    Tab("Backups", "/backups"),
    Tab("Rules", "/rules"),
    Tab("Silences", "/silences"),
    Tab("Ledger", "/ledger"),
    Tab("Configuration", "/configuration"),
)


class Frame:
    """Renders templates of `daemon/page/templates`, each of which extends `base.html`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._templates = Environment(
            loader=PackageLoader("daemon.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            enable_async=False,
        )

    @property
    def filters(self) -> dict[str, Any]:
        """Of the templates; a module of the page may add its own."""
        return self._templates.filters

    async def page(self, request: web.Request, template: str, status: int = 200, **context: Any) -> web.Response:
        """A whole page. `context` feeds the template beside what every page knows."""
        shared = await self._shared(request)
        text = self._templates.get_template(template).render(shared | context)
        return web.Response(status=status, text=text, content_type="text/html")

    async def _shared(self, request: web.Request) -> dict[str, Any]:
        seen = visitor(request)
        return {
            "visitor": seen,
            "may_ask": seen.role >= Role.OPERATOR and seen.person is not None,
            "csrf": seen.csrf,
            "tabs": TABS,
            "path": request.path,
            "now": self._sources.now(),
            "switch": await self._sources.port.switch(),
        }
