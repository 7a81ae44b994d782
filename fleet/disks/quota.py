"""`quota`: a limit on a directory, measured by walking it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import Field

from fleet.connections import Connections
from fleet.disks._source import DiskSource, Usage
from fleet.errors import CustodeError

_BLOCK = 512  # st_blocks counts these, whatever the file system's own block is (stat(2))


class QuotaSource(DiskSource):
    name = "quota"
    summary = "a directory and the bytes that it may take: path, limit"

    class Options(DiskSource.Options):
        path: Path = Field(description="the directory to measure; what is allocated counts, as `du` counts it")
        limit: int = Field(gt=0, description="what it may take, in bytes")

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._path, self._limit = options.path, options.limit
        # a thread of its own: a walk that does not end must not take the shared ones, one each interval
        self._thread = ThreadPoolExecutor(1, "disks-quota")

    async def usage(self, connections: Connections) -> Sequence[Usage]:  # noqa: ARG002 - reads no database
        loop = asyncio.get_running_loop()
        try:
            used = await loop.run_in_executor(self._thread, allocated_bytes, self._path)
        except OSError as error:
            raise CustodeError(f"{error.filename or self._path} cannot be measured: {error.strerror}") from error
        return [Usage(str(self._path), self._limit, max(0, self._limit - used))]


def allocated_bytes(root: Path) -> int:
    """Bytes allocated under `root`: links are not followed, a file with several names counts once.

    Raises:
        OSError: `root` does not exist, or some directory may not be read: the sum would be too small.
    """
    seen: set[tuple[int, int]] = set()
    total = root.stat().st_blocks * _BLOCK
    waiting = [os.fspath(root)]
    while waiting:
        directory = waiting.pop()
        try:
            entries = os.scandir(directory)
        except FileNotFoundError:
            if directory == os.fspath(root):
                raise
            continue  # removed since its parent was read
        with entries:
            for entry in entries:
                total += _entry_bytes(entry, seen)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return total


def _entry_bytes(entry: os.DirEntry[str], seen: set[tuple[int, int]]) -> int:
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if stat.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
        if (stat.st_dev, stat.st_ino) in seen:
            return 0
        seen.add((stat.st_dev, stat.st_ino))
    return stat.st_blocks * _BLOCK
