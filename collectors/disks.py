"""How full the disks under the database are, by whatever source the environment has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
from pydantic import ValidationError

import fleet.disks as disk_sources
from collectors import Collector, Family, Rows, Target, gauge
from fleet.disks import DiskSource, Usage
from fleet.durations import Duration
from fleet.errors import ConfigError, CustodeError
from fleet.plugins import load_plugins

DISKS = Family(
    ("mountpoint", "source"),
    (
        gauge("disk_size_bytes", "Size of the file system, in bytes."),
        gauge("disk_available_bytes", "What the database may still use of the file system, in bytes."),
    ),
)
_SHARE = 0.8  # of the collector's time for one source: a hanging one must leave the others theirs


class DisksCollector(Collector):
    name = "disks"
    summary = "size and free space of the disks, from the configured sources"
    families = (DISKS,)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._kinds = load_plugins(disk_sources, DiskSource)
        self._sources: dict[str, DiskSource] = {}

    async def collect(self, target: Target) -> list[Rows]:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._read(target, name)) for name in target.environment.disks}
        found: list[Sequence[Any]] = [
            (usage.mountpoint, name, usage.size_bytes, usage.available_bytes)
            for name, task in tasks.items()
            for usage in task.result()
        ]
        return [DISKS.rows(found)]

    async def _read(self, target: Target, name: str) -> Sequence[Usage]:
        try:
            source = self._source(name, target.environment.disks[name])
            async with asyncio.timeout(_SHARE * self.options.timeout.total_seconds()):
                found = await source.usage(target.connections)
        except (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            target.failed(name, error)
            return []
        if not found:
            target.gap(name, "the source has no data")
        return found

    def _source(self, name: str, values: dict[str, Any]) -> DiskSource:
        """The source called `name`, made once, so that it may keep a client. Raises ConfigError."""
        if name not in self._sources:
            kind = self._kinds.get(name)
            if kind is None:
                raise ConfigError(f"no disk source is called {name!r}", hint=f"known are: {', '.join(self._kinds)}")
            try:
                self._sources[name] = kind(kind.Options.model_validate(values))
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                key = ".".join(map(str, ("disks", name, *problem["loc"])))
                raise ConfigError(f"{key}: {problem['msg']}") from error
        return self._sources[name]
