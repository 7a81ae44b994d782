"""Alerts to all Alertmanagers, as Prometheus does: at once, again while they last, and for a while once they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from daemon.alertmanager._alerts import Json, page_alert
from daemon.alertmanager._client import Client
from daemon.alertmanager._metrics import Pushed, PushMetrics
from daemon.config import AlertmanagerSettings
from daemon.notifiers import Permanent, Retryable
from rules import AlertView, Labels, State

log = structlog.get_logger()

LOOK_SECONDS, HELD_LOOK_SECONDS = 5.0, 1.0  # between two looks where nothing changes; the same while alerts are held
PAUSE_SECONDS = 0.1  # between two looks however much changes: each expands the texts of all alerts
BATCH = 64
LAST_TIMES = 4  # so many tellings may be lost before an alert counts as resolved
FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0  # seconds between two tries


@dataclass(frozen=True, slots=True)
class _Told:
    state: State
    begun: float | None
    at: float


class _Queue:
    """What waits for one Alertmanager: of each alert the newest. The oldest make room."""

    def __init__(self, client: Client, capacity: int, pushed: Pushed) -> None:
        self.client = client
        self.arrived, self.idle = asyncio.Event(), asyncio.Event()
        self._capacity = capacity
        self._pushed = pushed
        self._waiting: dict[Labels, AlertView] = {}

    def put(self, alert: AlertView) -> None:
        self._waiting[alert.labels] = alert
        if len(self._waiting) > self._capacity:
            del self._waiting[next(iter(self._waiting))]
            self._pushed.dropped += 1
        self.idle.clear()
        self.arrived.set()
        self._pushed.waiting = len(self._waiting)

    def take(self) -> list[AlertView]:
        batch = [self._waiting.pop(labels) for labels in list(self._waiting)[:BATCH]]
        self._pushed.waiting = len(self._waiting)
        return batch

    def give_back(self, batch: Sequence[AlertView]) -> None:
        """It was not sent; what has changed since is newer."""
        old = {alert.labels: alert for alert in batch}
        self._waiting = old | self._waiting
        self._pushed.waiting = len(self._waiting)


class Pusher:
    """Tells all Alertmanagers what `alerts` gives, from a thread: what is firing, or was resolved a little while ago.

    `url` gives the page of an alert, `interval` the longest interval of a rule group in seconds, `held` whether an
    alert need not page yet. `now` is unix seconds.
    """

    def __init__(
        self,
        settings: AlertmanagerSettings,
        clients: Sequence[Client],
        metrics: PushMetrics,
        *,
        alerts: Callable[[], Iterable[AlertView]],
        interval: Callable[[], float],
        url: Callable[[AlertView], str],
        held: Callable[[AlertView, float], bool],
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._alerts = alerts
        self._interval = interval
        self._url = url
        self._held = held
        self._now = now
        self._told: dict[Labels, _Told] = {}
        self._news, self._offering = asyncio.Event(), asyncio.Lock()
        metrics.attach([client.url for client in clients], settings.capacity)
        self._queues = [_Queue(client, settings.capacity, metrics.of[client.url]) for client in clients]

    def wake(self) -> None:
        """Something has changed."""
        self._news.set()

    async def run(self) -> None:
        """Tell, until cancelled."""
        if not self._queues:
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._look())
                for queue in self._queues:
                    group.create_task(self._serve(queue), name=f"alertmanager {queue.client.url}")
        finally:
            for queue in self._queues:
                await queue.client.close()

    async def drain(self, seconds: float) -> None:
        """Wait until what is known now was told to those that answer, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._offer()
                for queue in self._queues:
                    if self._metrics.of[queue.client.url].up is not False:
                        await queue.idle.wait()

    async def _look(self) -> None:
        while True:
            self._news.clear()
            await self._offer()
            with suppress(TimeoutError):
                async with asyncio.timeout(HELD_LOOK_SECONDS if self._metrics.held else LOOK_SECONDS):
                    await self._news.wait()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _offer(self) -> None:
        """Put what is due into the queues."""
        async with self._offering:  # or an older look might come after a newer one
            self._put(await asyncio.to_thread(lambda: {alert.labels: alert for alert in self._alerts()}))

    def _put(self, alerts: Mapping[Labels, AlertView]) -> None:
        now, resend = self._now(), self._settings.resend.total_seconds()
        held = 0
        for labels, alert in alerts.items():
            told = self._told.get(labels)
            same = told is not None and (told.state, told.begun) == (alert.state, alert.fired_at)
            if told is not None and same and 0 <= now - told.at < resend:
                continue
            if not same and alert.state is State.FIRING and self._held(alert, now):
                held += 1
                continue
            self._told[labels] = _Told(alert.state, alert.fired_at, now)
            for queue in self._queues:
                queue.put(alert)
        self._told = {labels: told for labels, told in self._told.items() if labels in alerts}
        self._metrics.held = held

    async def _serve(self, queue: _Queue) -> None:
        wait = FIRST_WAIT
        while True:
            queue.arrived.clear()
            batch = queue.take()
            if not batch:
                queue.idle.set()
                await queue.arrived.wait()
            elif await self._sent(queue, batch):
                wait = FIRST_WAIT
            else:
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)

    async def _sent(self, queue: _Queue, batch: Sequence[AlertView]) -> bool:
        """Whether it answered; what it did not take is dropped, or waits."""
        pushed, begun = self._metrics.of[queue.client.url], asyncio.get_running_loop().time()
        bodies = [body for alert in batch if (body := self._body(alert)) is not None]
        pushed.dropped += len(batch) - len(bodies)
        try:
            if bodies:
                await queue.client.post_alerts(bodies)
        except Permanent as error:
            pushed.errors += len(bodies)
            return await self._one_by_one(queue, batch, error)
        except Retryable as error:
            pushed.errors += len(bodies)
            if pushed.up is not False:
                log.warning("alertmanager_away", alertmanager=queue.client.url, error=error.message)
            pushed.up = False
            queue.give_back(batch)
            return False
        if pushed.up is False:
            log.info("alertmanager_back", alertmanager=queue.client.url)
        pushed.up, pushed.sent = True, pushed.sent + len(bodies)
        pushed.seconds = asyncio.get_running_loop().time() - begun
        return True

    async def _one_by_one(self, queue: _Queue, batch: Sequence[AlertView], error: Permanent) -> bool:
        """One bad alert must not cost the others."""
        if len(batch) == 1:
            self._metrics.of[queue.client.url].dropped += 1
            log.error("alert_refused", alertmanager=queue.client.url, alert=batch[0].name, error=error.message)
            return True
        for number, alert in enumerate(batch):
            if not await self._sent(queue, [alert]):
                queue.give_back(batch[number + 1 :])
                return False
        return True

    def _body(self, alert: AlertView) -> Json | None:
        lasts = LAST_TIMES * max(self._interval(), self._settings.resend.total_seconds())
        return page_alert(alert, extra=self._settings.labels, url=self._url(alert), now=self._now(), lasts=lasts)
