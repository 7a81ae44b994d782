"""How much memory an index may be built in, and what is done where that was wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from actions._restore_place import Place, upstairs

_LEAST_MB, _MOST_MB = 256, 2048
_LOCAL_SHARE = 4  # a build on this machine takes at most this part of what is free
_NEEDED = re.compile(r"memory required is (\d+) MB")  # pgvector, of an IVFFlat index
# what a smaller share, or none of the workers, may cure
MEMORY_TROUBLE = (asyncpg.InsufficientResourcesError, asyncpg.ProgramLimitExceededError, asyncpg.OutOfMemoryError)


@dataclass(frozen=True, slots=True)
class Budget:
    """Of one build at a time: `megabytes` of maintenance_work_mem, and `workers` that help."""

    megabytes: int
    workers: int

    @property
    def settings(self) -> list[str]:
        return [
            f"set maintenance_work_mem = '{self.megabytes}MB'",
            f"set max_parallel_maintenance_workers = {self.workers}",
        ]

    def shared(self, builds: int) -> Budget:
        """Of each of so many builds at once: one of them mostly takes longest, so each has all the workers."""
        return Budget(max(64, self.megabytes // builds), self.workers)


async def budget(place: Place, megabytes: int | None) -> Budget:
    """As asked; else by what is free on this machine where the server is on it, or by the server's shared_buffers.

    Never less than the server's own maintenance_work_mem. The cores of a server elsewhere are told by its workers.
    """
    async with upstairs(place.job.changes) as connection:
        ((own, shared, workers),) = await connection.fetch("""
            select pg_size_bytes(current_setting('maintenance_work_mem')) >> 20,
                pg_size_bytes(current_setting('shared_buffers')) >> 20,
                least(current_setting('max_parallel_workers')::int, current_setting('max_worker_processes')::int)
        """)
    if await place.job.changes.address() is None:
        shared, workers = _free_megabytes() // _LOCAL_SHARE, min(workers, (os.cpu_count() or 1) - 1)
    if megabytes is None:
        megabytes = min(_MOST_MB, max(_LEAST_MB, shared))
    return Budget(max(own, megabytes), max(0, min(workers, 4)))


def ways(first: Budget | None) -> Iterator[list[str]]:
    """Settings to try one after the other: the budget; without workers, whose memory may be scarce; the default's."""
    if first is not None:
        yield first.settings
        yield Budget(first.megabytes, 0).settings
    yield ["reset maintenance_work_mem", "set max_parallel_maintenance_workers = 0"]


def needed(error: BaseException) -> Budget | None:
    """What the server says that it needs."""
    found = _NEEDED.search(str(error))
    return Budget(int(found[1]) + 1, 0) if found is not None else None


def _free_megabytes() -> int:
    try:
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(told["MemAvailable"].split()[0]) >> 10
    except (OSError, KeyError, ValueError):
        return _LEAST_MB * _LOCAL_SHARE
