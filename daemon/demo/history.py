"""What the demonstration's fleet has behind it: backups and a refresh, one of each too long ago."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial

from actions import Job
from actions.backup import Backup
from daemon import clock
from daemon.config import Settings
from daemon.demo.faults import BACKUP_AGE
from fleet.backups import read_manifests
from fleet.connections import Connections
from fleet.secrets import Secrets
from fleet.stores import Store

_REFRESH_AGE = 9 * 86_400  # seconds; qa is promised fresh data every week
_BACKUP_AGES = {"qa": 3 * 3600.0, "preprod": 5 * 3600.0, "production": BACKUP_AGE}


async def make_history(settings: Settings, store: Store) -> None:
    """Take a real backup of each environment that has none, by a clock that is as slow as the story needs."""
    for name, age in _BACKUP_AGES.items():
        if not await read_manifests(store, name):
            await _back_up(settings, name, store, partial(_earlier, age))
    if not await store.list("refreshes/qa/"):
        await _record_refresh(store)


def _earlier(age: float) -> float:
    return clock.now() - age


async def _back_up(settings: Settings, name: str, store: Store, now: Callable[[], float]) -> None:
    environment = settings.environments[name]
    secrets = Secrets(clock.monotonic)
    connections = Connections(environment, secrets)
    action = Backup()
    job = Job(
        run_id=uuid.uuid4().hex,
        attempt=1,
        started_at=now(),
        environment=environment,
        connections=connections,
        changes=connections,
        secrets=secrets,
        stores={"local": store},
        now=now,
        progress=lambda _ratio, _what: None,
        client_tools=settings.client_tools,
    )
    try:
        parameters = action.parameters()()
        plan = await action.plan(job, parameters)
        for step in action.steps(job, parameters, plan):
            await step.run()
    finally:
        await connections.close()


async def _record_refresh(store: Store) -> None:
    at = clock.now() - _REFRESH_AGE
    record = {"environment": "qa", "finished_at": at, "source": "production"}

    async def content() -> AsyncIterator[bytes]:
        yield json.dumps(record).encode()

    await store.put(f"refreshes/qa/{at:.0f}.json", content())
