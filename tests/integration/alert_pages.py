"""Our pages on their way to real Alertmanagers, and what these hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from daemon.alertmanager import Pusher, PushMetrics, make_clients
from daemon.config import AlertmanagerSettings
from fleet.secrets import Secrets
from rules import AlertView, State
from tests.integration.alertmanagers import Alertmanager, view

SECRETS = Secrets(time.monotonic)


class Pushing:
    """A pusher over alerts that a test changes."""

    def __init__(self, urls: Sequence[str], **options: object) -> None:
        self.alerts: dict[str, AlertView] = {}
        self.held: set[str] = set()
        self.metrics = PushMetrics()
        settings = AlertmanagerSettings.model_validate({"urls": urls, "timeout": timedelta(seconds=2), **options})
        self.pusher = Pusher(
            settings,
            make_clients(settings, SECRETS),
            self.metrics,
            alerts=lambda: list(self.alerts.values()),
            interval=lambda: 15.0,
            url=lambda alert: f"http://custode/alerts/{alert.name}",
            held=lambda alert, _now: alert.name in self.held,
            now=time.time,
        )

    def fire(self, name: str) -> None:
        self.set(view(name))

    def resolve(self, name: str) -> None:
        self.set(replace(self.alerts[name], state=State.RESOLVED, resolved_at=time.time()))

    def set(self, alert: AlertView) -> None:
        self.alerts[alert.name] = alert
        self.pusher.wake()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.pusher.run())
            try:
                yield
            finally:
                task.cancel()


async def names(one: Alertmanager, **status: str) -> list[str]:
    found = await one.get("alerts")
    return sorted(
        alert["labels"]["alertname"]
        for alert in found
        if all(alert["status"][name] == value for name, value in status.items())
    )


async def until_async(true: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 - whoever makes it true tells nobody
            await asyncio.sleep(0.05)
