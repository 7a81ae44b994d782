"""`statvfs`: a file system of the machine that the daemon runs on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from fleet.connections import Connections
from fleet.disks._source import DiskSource, Usage
from fleet.errors import CustodeError


class StatvfsSource(DiskSource):
    name = "statvfs"
    summary = "local paths, by statvfs(3): path, or paths"

    class Options(DiskSource.Options):
        path: Path | None = Field(None, description="any path on the file system to watch; null: see paths")
        paths: tuple[Path, ...] = Field((), description="the same of several; two on one file system are one series")

        @model_validator(mode="after")
        def _some(self) -> Self:
            if self.path is None and not self.paths:
                raise ValueError("give path or paths")
            return self

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._paths = (*((options.path,) if options.path else ()), *options.paths)
        # a thread of its own: a hanging network mount must not take the shared ones, one each interval
        self._thread = ThreadPoolExecutor(1, "disks-statvfs")

    async def usage(self, connections: Connections) -> Sequence[Usage]:  # noqa: ARG002 - reads no database
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read)

    def _read(self) -> list[Usage]:
        try:
            mounts = dict.fromkeys(map(_mountpoint, self._paths))
            return [_usage(mount) for mount in mounts]
        except OSError as error:
            raise CustodeError(f"{error.filename or self._paths[0]} cannot be read: {error.strerror}") from error


def _mountpoint(path: Path) -> Path:
    path = path.resolve(strict=True)
    while not path.is_mount():
        path = path.parent
    return path


def _usage(mount: Path) -> Usage:
    stat = os.statvfs(mount)
    # f_bavail leaves out what is reserved for root, which PostgreSQL is not
    return Usage(str(mount), stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize)
