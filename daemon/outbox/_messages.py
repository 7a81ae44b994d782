"""Messages as notices, and notifiers that take only messages as senders."""

from __future__ import annotations

from dataclasses import asdict

from daemon.notifiers import Message, Notifier, Permanent, Receipt, Severity
from daemon.outbox._notice import Notice


def message_notice(to: str, message: Message) -> Notice:
    """A message without a thread goes in order with all others that have none."""
    return Notice(to, message.thread, message.id, asdict(message), message.at)


class MessageSender:
    """A notifier as a sender."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self.parallel = notifier.parallel
        self.needs_state = notifier.needs_state
        self.hears_muted = notifier.hears_muted

    async def send(self, notice: Notice) -> Receipt:
        try:
            message = Message(**{**notice.payload, "severity": Severity(notice.payload["severity"])})
        except (TypeError, KeyError, ValueError) as error:  # as another version of Custode wrote it
            raise Permanent(f"the message cannot be read: {error}") from error
        return await self._notifier.send(message)

    async def close(self) -> None:
        await self._notifier.close()
