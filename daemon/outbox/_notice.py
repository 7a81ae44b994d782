"""What is to be told, and who tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from daemon.notifiers import Receipt


@dataclass(frozen=True, slots=True)
class Notice:
    """Something for the sender `to`, written down before it is sent.

    `key` is the same for the same event: to one sender it goes once, however often it is put. Notices of one `thread`
    go in the order in which they were put, one after the other. Of those of a thread that share a `slot`, only the
    newest is sent: what waits and is outdated is passed over (a root message that is edited, a line of progress).
    `payload` is JSON, `at` when it happened in unix seconds.
    """

    to: str
    thread: str
    key: str
    payload: Mapping[str, Any]
    at: float
    slot: str | None = None


class Sender(Protocol):
    """Takes notices to their place. A plain `Notifier` becomes one by `MessageSender`."""

    @property
    def parallel(self) -> int:
        """How many threads may be told at once; within a thread it is always one after the other."""

    @property
    def needs_state(self) -> bool:
        """Whether it cannot work while the state database is away; what can is handed notices from memory then."""

    @property
    def hears_muted(self) -> bool:
        """Whether it is told of alerts that are silenced as well."""

    async def send(self, notice: Notice) -> Receipt:
        """Tell it, within SEND_SECONDS. The same notice may come again where nobody knows whether it went.

        Raises:
            Retryable: it waits, and with it its thread; with `after`, everything to this sender does.
            Permanent: it will never go: a dead letter.
        """

    async def close(self) -> None:
        """Let go of what is open."""
