"""Messages out of alerts and actions, and their way to every notifier: queued, retried, none delaying another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.request import Result
from daemon.alerting import FOR_MACHINES
from daemon.notifiers import Message, Notifier, Permanent, Retryable, Severity

log = structlog.get_logger()

QUEUE_SIZE = 1000
ATTEMPTS = 8
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0  # seconds; all attempts together take about three minutes
_SEND_SECONDS = 30.0

Sleep = Callable[[float], Awaitable[None]]


class Fanout:
    """Gives every message to every notifier, in order, through a queue for each.

    A full queue drops the message for that notifier and logs it: being told late is worth more than running out of
    memory. `run` sends until it is cancelled; `drain` waits for what is queued.
    """

    def __init__(
        self, notifiers: Mapping[str, Notifier], *, sleep: Sleep = asyncio.sleep, size: int = QUEUE_SIZE
    ) -> None:
        self._notifiers = notifiers
        self._sleep = sleep
        self._queues: dict[str, asyncio.Queue[Message]] = {name: asyncio.Queue(size) for name in notifiers}

    def post(self, message: Message) -> None:
        for name, queue in self._queues.items():
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                log.warning("message_dropped", notifier=name, message=message.id, reason="queue_full")

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name in self._notifiers:
                    group.create_task(self._serve(name), name=f"notifier {name}")
        finally:
            for notifier in self._notifiers.values():
                await notifier.close()

    async def drain(self, seconds: float) -> None:
        """Wait until everything queued was sent or given up, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                for queue in self._queues.values():
                    await queue.join()
        except TimeoutError:
            left = {name: queue.qsize() for name, queue in self._queues.items() if queue.qsize()}
            log.warning("messages_left_unsent", queued=left)

    async def _serve(self, name: str) -> None:
        queue = self._queues[name]
        while True:
            message = await queue.get()
            try:
                await self._deliver(name, message)
            finally:
                queue.task_done()

    async def _deliver(self, name: str, message: Message) -> None:
        wait = _FIRST_WAIT
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(_SEND_SECONDS):
                    await self._notifiers[name].send(message)
            except (Retryable, TimeoutError) as error:
                if attempt == ATTEMPTS:
                    return _gave_up(name, message, error)
                asked = error.after if isinstance(error, Retryable) else None
                await self._sleep(wait if asked is None else asked)
                wait = min(wait * 2, _LONGEST_WAIT)
            except Permanent as error:
                return _gave_up(name, message, error)
            except Exception as error:  # noqa: BLE001 - a notifier's bug must not silence the others
                return _gave_up(name, message, error)
            else:
                return None
        return None


def _gave_up(name: str, message: Message, error: Exception) -> None:
    log.error("message_not_sent", notifier=name, message=message.id, error=str(error) or type(error).__name__)


class AlertChange(Protocol):
    """An alert that changed its state at `at` (unix seconds), as the rule engine tells it."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def annotations(self) -> Mapping[str, str]: ...
    @property
    def value(self) -> float: ...
    @property
    def after(self) -> str: ...
    @property
    def at(self) -> float: ...


def alert_message(change: AlertChange) -> Message | None:
    """A message about an alert that began to fire or was resolved; other changes are no news.

    Nor is an alert of severity "none", which is for machines, such as the one that always fires.
    """
    labels, firing = change.labels, change.after == "firing"
    if change.after not in {"firing", "resolved"} or labels.get("severity") == FOR_MACHINES:
        return None
    identity = ",".join(f"{name}={labels[name]}" for name in sorted(labels))
    fields = {name: labels[name] for name in sorted(labels) if name not in _SAID_ELSEWHERE}
    summary = change.annotations.get("summary", "")
    return Message(
        id=f"alert:{identity}:{change.after}:{change.at:.3f}",
        kind="alert",
        severity=_severity(labels) if firing else Severity.GOOD,
        title=f"{labels.get('alertname', 'alert')} {change.after}" + (f": {summary}" if summary else ""),
        at=change.at,
        environment=labels.get("environment"),
        text=change.annotations.get("description", "") if firing else "",
        fields=fields | {"value": f"{change.value:g}"} if firing else fields,
    )


_SAID_ELSEWHERE = frozenset({"alertname", "environment", "tier", "severity", "action", "promise", "__name__"})


def _severity(labels: Mapping[str, str]) -> Severity:
    try:
        return Severity(labels.get("severity", ""))
    except ValueError:
        return Severity.WARNING


def action_message(event: ActionEvent) -> Message:
    """A message about a step in the life of an action."""
    run = event.run
    return Message(
        id=f"action:{event.id}",
        kind="action",
        severity=_severity_of(event),
        title=f"{run.action} {event.title}",
        at=event.at,
        environment=run.environment,
        text=_text(event),
        fields={name: _figure(value) for name, value in event.figures.items()},
    )


_RESULTS: Mapping[Result | None, Severity] = {
    Result.FIXED: Severity.GOOD,
    Result.NOT_FIXED: Severity.WARNING,
    Result.FAILED: Severity.CRITICAL,
}


def _severity_of(event: ActionEvent) -> Severity:
    match event.kind:
        case Happened.ESCALATED:
            return Severity.CRITICAL
        case Happened.ASKED:
            return Severity.WARNING
        case _:
            return _RESULTS.get(event.result, Severity.INFO)


def _text(event: ActionEvent) -> str:
    match event.kind:
        case Happened.STEP:
            return ""
        case Happened.ASKED:
            return f"{event.text}\ncustode actions approve {event.run.id}, or reject"
        case _:
            return event.text


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
