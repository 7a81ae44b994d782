"""What is stored of an environment, read from its stores without a daemon: for a day when there is none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import typer

from daemon import clock, stored
from daemon.cli._console import ConfigOption, config_path
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.parts import make_stores
from daemon.stored import Copy, read_copies
from fleet.backups import Manifest
from fleet.environment import Environment
from fleet.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Stored(stored.Stored):
    settings: Settings

    @property
    def first(self) -> Copy:
        """Where backups are taken."""
        return self.copies[0]

    def find(self, given: str) -> tuple[Copy, Manifest]:
        """The one backup whose id begins so, or the newest good one (`latest`), with the first copy that holds it."""
        found: dict[str, tuple[Copy, Manifest]] = {}
        for copy in reversed(self.copies):
            good = [one for one in copy.manifests if one.succeeded]
            chosen = good[-1:] if given == "latest" else [one for one in copy.manifests if one.id.startswith(given)]
            found |= {one.id: (copy, one) for one in chosen}
        if given == "latest" and found:
            return found[max(found)]
        if len(found) != 1:
            many = f"{len(found)} backups begin so" if found else "there is none"
            raise typer.BadParameter(f"{given!r} is no backup of {self.environment.name}: {many}")
        return next(iter(found.values()))


def read_stored(config: ConfigOption, environment: str) -> Stored:
    """Raises ConfigError; BadParameter where there is no such environment, or it has no store."""
    configure_logs(LogSettings(level="error"))
    settings = load(config_path(config))
    if environment not in settings.environments:
        known = ", ".join(settings.environments)
        raise typer.BadParameter(f"{environment!r} is no environment; there are: {known}")
    if not settings.stores:
        raise typer.BadParameter("the configuration names no store for backups")
    return asyncio.run(_read(settings, settings.environments[environment]))


async def _read(settings: Settings, environment: Environment) -> Stored:
    read = await read_copies(environment, make_stores(settings, Secrets(clock.monotonic)), clock.now())
    return Stored(read.environment, read.copies, read.files, settings)
