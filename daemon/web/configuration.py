"""GET /api/v1/configuration: what the daemon works by, without its secrets."""

from __future__ import annotations

import asyncio
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import requires, version
from typing import Any

from aiohttp import web

from daemon.config import Catalogue, Settings
from daemon.telemetry import Reload
from daemon.web._actions_input import Nothing, read_query
from daemon.web._actions_reply import answering
from daemon.web.access import Role
from daemon.web.routes import Route

_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """`file` was read at `read_at` unix seconds. Where the last attempt failed, `error` says why, at `failed_at`.

    `versions` are of Custode, Python and the libraries, `plugins` the names of what was found, by kind.
    """

    file: str
    read_at: float | None
    error: str | None
    failed_at: float | None
    versions: Mapping[str, str]
    plugins: Mapping[str, tuple[str, ...]]
    configuration: Mapping[str, Any]


class Configurations:
    """`settings` and `reload` give what holds at the moment."""

    def __init__(self, settings: Callable[[], Settings], reload: Callable[[], Reload]) -> None:
        self._settings = settings
        self._reload = reload
        self._versions = _versions()
        self._plugins = _plugins()

    async def view(self) -> ConfigurationView:
        settings, reload = self._settings(), self._reload()
        return ConfigurationView(
            str(settings.source),
            reload.read_at,
            reload.error,
            reload.failed_at,
            self._versions,
            self._plugins,
            # that of a large fleet would hold the event loop up
            await asyncio.to_thread(settings.redacted),
        )


def configuration_route(configurations: Configurations) -> Route:
    async def show(request: web.Request) -> object:
        read_query(request, Nothing)
        return await configurations.view()

    return Route(
        "GET",
        "/api/v1/configuration",
        answering(show),
        Role.VIEWER,
        "The configuration without its secrets, and what is installed",
        query=Nothing,
        answer=ConfigurationView,
    )


def _versions() -> dict[str, str]:
    needed = (_NAME.match(line) for line in requires("custode") or () if "extra ==" not in line)
    libraries = sorted({found[0] for found in needed if found}, key=str.lower)
    return {"custode": version("custode"), "python": platform.python_version()} | {
        name: version(name) for name in libraries
    }


def _plugins() -> dict[str, tuple[str, ...]]:
    known = Catalogue.load()
    return {
        "actions": tuple(known.actions),
        "collectors": tuple(known.collectors),
        "stores": tuple(known.stores),
        "notifiers": tuple(known.notifiers),
        "disks": tuple(known.disks),
        "secrets": known.schemes,
    }
