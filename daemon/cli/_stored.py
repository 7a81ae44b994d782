"""What is stored of an environment, read from its stores without a daemon: for a day when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from daemon import clock
from daemon.cli._console import ConfigOption, config_path
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.parts import make_stores
from fleet.backups import Manifest, read_manifests
from fleet.backups.guide_files import GuideFile, find_files
from fleet.backups.retention import Decision, decide
from fleet.environment import Environment
from fleet.errors import StoreError
from fleet.policy import Retention
from fleet.secrets import Secrets
from fleet.stores import Store


@dataclass(frozen=True, slots=True)
class Copy:
    """The backups of one store, oldest first, and what the policy says of each; `problem` where it cannot be read."""

    name: str
    store: Store
    retention: Retention
    manifests: tuple[Manifest, ...] = ()
    decisions: tuple[Decision, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    settings: Settings
    environment: Environment
    copies: tuple[Copy, ...]
    files: tuple[GuideFile, ...]

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
    backup = environment.policy.backup
    stores = make_stores(settings, Secrets(clock.monotonic))
    first = next(iter(stores))
    wanted = {name: stores[name] for name in dict.fromkeys((first, *backup.copies)) if name in stores}
    now = clock.now()
    copies = await asyncio.gather(*(_copy(name, store, environment, now) for name, store in wanted.items()))
    files = await asyncio.to_thread(find_files, backup.files, now)
    return Stored(settings, environment, tuple(copies), tuple(files))


async def _copy(name: str, store: Store, environment: Environment, now: float) -> Copy:
    retention = environment.policy.backup.retention_in(name)
    try:
        manifests = await read_manifests(store, environment.name)
    except StoreError as error:
        return Copy(name, store, retention, problem=error.message)
    return Copy(name, store, retention, tuple(manifests), tuple(decide(manifests, retention, now)))


def tiers_of(copy: Copy) -> Mapping[str, Decision]:
    """What the policy says of each backup, by its id."""
    return {decision.id: decision for decision in copy.decisions}
