"""Who is told: one file a way of telling."""

from daemon.notifiers._notifier import Kind, Message, Notifier, Permanent, Receipt, Retryable, Severity

__all__ = ["Kind", "Message", "Notifier", "Permanent", "Receipt", "Retryable", "Severity"]
