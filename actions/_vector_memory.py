"""How much memory, and how many workers, the build of a vector index is given."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from actions._action import Job
from actions._restore_memory import Budget
from fleet.errors import ActionError
from fleet.vectors import Method
from fleet.vectors.costs import Shape, build_memory

_SPARE = 1.15  # the estimate is right within a tenth
_LOCAL_SHARE = 2  # of what is free on this machine, a build may have this part
_MOST_WORKERS = 4
_UNKNOWN = 1024  # megabytes for a build of unknown needs
_A_HAND = 32  # megabytes below which the server lets no further process help (plan_create_index_workers)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where PostgreSQL has it
_SETTINGS = """
    select pg_size_bytes(current_setting('maintenance_work_mem')) >> 20,
        pg_size_bytes(current_setting('shared_buffers')) >> 20,
        least(current_setting('max_parallel_workers')::int, current_setting('max_worker_processes')::int),
        current_setting('dynamic_shared_memory_type') = 'posix'
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Of the server: megabytes of its settings; `free` megabytes of memory and of /dev/shm where it is this machine.

    `free` is None where the server is elsewhere; `free_shared` also where it does not matter.
    """

    own: int
    shared_buffers: int
    workers: int
    free: int | None = None
    free_shared: int | None = None

    @property
    def most(self) -> int:
        """Megabytes that a build may have without being asked: elsewhere as much as the server keeps for its cache."""
        return max(self.own, self.shared_buffers if self.free is None else self.free // _LOCAL_SHARE)


async def machine(job: Job, datname: str) -> Machine:
    async with job.connections.acquire(datname) as connection:
        ((own, shared, workers, posix),) = await connection.fetch(_SETTINGS)
    if await job.connections.address() is not None:
        return Machine(own, shared, workers)
    workers = min(workers, (os.cpu_count() or 1) - 1)
    return Machine(own, shared, workers, _free_megabytes(), _free_shared_megabytes() if posix else None)


def size_build(
    server: Machine, shape: Shape | None, rows: float, asked: int | None = None, *, parallel: bool = True
) -> tuple[Budget, str]:
    """The budget, and what is to be said of it. `asked` are megabytes; a `shape` of None: its needs are unknown.

    Raises:
        ActionError: an IVFFlat index needs more than the server seems to have: it would not be built.
    """
    workers = max(0, min(server.workers, _MOST_WORKERS)) if parallel else 0
    needed = _UNKNOWN if shape is None else (ceil(build_memory(shape, rows) * _SPARE) >> 20) + 1
    megabytes = asked or max(server.own, min(max(needed, _A_HAND * (workers + 1)), server.most))
    remark = f"it is built in {megabytes} MB"
    if shape is not None and needed > megabytes:
        if shape.method is Method.IVFFLAT:
            raise ActionError(
                f"the build needs {needed} MB of memory, {megabytes} MB are there for it",
                hint="give it more (maintenance_mb) where the server has it, or fewer lists",
            )
        remark += f", {needed} MB would make it many times faster"
    # the graph is built in memory that the workers share; with the default of Docker it does not fit
    if server.free_shared is not None and megabytes > server.free_shared:
        workers = 0
        remark += f", by one process alone, for /dev/shm has {server.free_shared} MB"
    return Budget(megabytes, workers), remark


def _free_megabytes() -> int:
    try:
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(told["MemAvailable"].split()[0]) >> 10
    except (OSError, KeyError, ValueError):
        return 0


def _free_shared_megabytes() -> int | None:
    try:
        return shutil.disk_usage(_SHARED_MEMORY).free >> 20
    except OSError:
        return None
