"""Every notification is a row first: sent at least once, in order within its thread, and never lost on the way.

`Outbox.put(Notice(...))` takes it at once and never blocks; `Outbox(senders=...)` says who takes what to where. A
notifier that only knows messages becomes a sender by `MessageSender`.
"""

from daemon.outbox._messages import MessageSender, message_notice
from daemon.outbox._metrics import OutboxMetrics
from daemon.outbox._notice import Notice, Sender
from daemon.outbox._outbox import SEND_SECONDS, Outbox

__all__ = ["SEND_SECONDS", "MessageSender", "Notice", "Outbox", "OutboxMetrics", "Sender", "message_notice"]
