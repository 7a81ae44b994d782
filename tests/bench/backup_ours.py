"""Our side of the backup figures, in a process of its own: `python -m tests.bench.backup_ours backup|restore ...`.

Everything that a daemon has loaded is loaded, so that the memory is the daemon's; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from actions import Action, Job
from actions.backup import Backup
from actions.restore import Restore
from daemon.tuning import tune_process
from fleet.environment import Environment
from fleet.stores.local import LocalStore
from tests.integration.actions_kit import at_work

_TICK = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("backup", "restore"))
    parser.add_argument("dsn")
    parser.add_argument("database")
    parser.add_argument("store", type=Path)
    parser.add_argument("--into", default=None)
    arguments = parser.parse_args()
    importlib.import_module("daemon.app")  # the memory is to be that of a daemon
    tune_process()  # as it does
    print(json.dumps(asyncio.run(_measure(arguments))))


async def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    environment = Environment.model_validate(
        {
            "name": "qa",
            "tier": "qa",
            "dsn": arguments.dsn,
            "databases": [arguments.database],
            "tls": {"mode": "disable"},
        }
    )
    store = LocalStore(LocalStore.Options(path=arguments.store))
    async with at_work(environment, stores={"local": store}) as job:
        if arguments.what == "backup":
            return await _act(job, Backup(), {})
        return await _act(job, Restore(), {"database": arguments.database, "into": arguments.into})


async def _act(job: Job, action: Action[Any], said: dict[str, Any]) -> dict[str, Any]:
    parameters = action.parameters().model_validate(said)
    begun = time.perf_counter()
    plan = await action.plan(job, parameters)
    told: dict[str, Any] = {"plan_seconds": time.perf_counter() - begun}
    begun = time.perf_counter()
    async with _lag(told):
        for step in action.steps(job, parameters, plan):
            at = time.perf_counter()
            told |= {f"{step.name}_{name}": value for name, value in (await step.run()).items()}
            told[f"{step.name}_seconds"] = time.perf_counter() - at
    told["seconds"] = time.perf_counter() - begun
    told["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    begun = time.perf_counter()
    verdict = await action.verify(job, parameters, plan)
    told |= {"fixed": verdict.fixed, "reason": verdict.reason, "verify_seconds": time.perf_counter() - begun}
    return told


@asynccontextmanager
async def _lag(told: dict[str, Any]) -> AsyncIterator[None]:
    """The longest time for which the event loop did not come round, in milliseconds."""
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            at = time.perf_counter()
            await asyncio.sleep(_TICK)
            worst = max(worst, time.perf_counter() - at - _TICK)

    ticking = asyncio.get_running_loop().create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        told["loop_blocked_ms"] = worst * 1000


if __name__ == "__main__":
    main()
