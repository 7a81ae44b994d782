"""/configuration: what the daemon works by, without its secrets; and what is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from aiohttp import web

from daemon.page.forms import Name, read_filters
from daemon.page.frame import Frame
from daemon.page.sources import Sources
from daemon.web._actions_input import Input
from daemon.web.access import Role
from daemon.web.configuration import Configurations, configuration_route
from daemon.web.routes import Route

_MANY = ("environments",)  # sections of which one part at a time is shown


class Filters(Input):
    environment: Name | None = None


def routes(sources: Sources, frame: Frame) -> list[Route]:
    configurations = Configurations(sources.settings, sources.reload)

    async def show(request: web.Request) -> web.Response:
        asked = read_filters(request, Filters)
        view = await configurations.view()
        environments = view.configuration["environments"]
        one = environments.get(asked.environment)
        return await frame.page(
            request,
            "configuration.html",
            view=view,
            asked=asked.environment,
            one=None if one is None else list(settings_of(one)),
            environments=environments,
            sections=sections(view.configuration),
        )

    async def raw(_request: web.Request) -> web.Response:
        """As text, so that it can be copied and compared."""
        view = await configurations.view()
        text = await asyncio.to_thread(_yaml, view.configuration)
        return web.Response(text=text, content_type="text/plain")

    return [
        Route("GET", "/configuration", show, Role.VIEWER, "The configuration without its secrets", query=Filters),
        Route("GET", "/configuration/raw", raw, Role.VIEWER, "The same as YAML"),
        configuration_route(configurations),
    ]


def sections(configuration: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """By their titles, the paths and values of each; what stands for itself comes first."""
    found: dict[str, list[tuple[str, str]]] = {"general": []}
    for name, value in configuration.items():
        if name in _MANY:
            continue
        if isinstance(value, Mapping):
            found[name] = list(settings_of(value))
        else:
            found["general"].append((name, _text(value)))
    return found


def settings_of(value: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """The paths below `value` and what stands there: `policy.backups.interval`."""
    for name, part in value.items():
        place = f"{at}.{name}" if at else str(name)
        if isinstance(part, Mapping) and part:
            yield from settings_of(part, place)
        else:
            yield place, _text(part)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case list() | tuple() if not _nested(value):
            return ", ".join(map(_text, value))
        case Mapping() if not value:
            return ""
        case _:
            return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000).strip()


def _nested(values: Sequence[object]) -> bool:
    return any(isinstance(one, Mapping | list | tuple) for one in values)


def _yaml(configuration: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True, width=120)
