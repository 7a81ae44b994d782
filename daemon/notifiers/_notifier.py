"""The seam for notifiers: a message goes out, or the error says whether trying again can help."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal

from fleet.errors import CustodeError
from fleet.policy import Strict
from fleet.secrets import Secrets

Kind = Literal["alert", "action", "config", "daemon"]


class Severity(StrEnum):
    """How a message is to be taken. GOOD is trouble that has ended."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    GOOD = "good"


@dataclass(frozen=True, slots=True)
class Message:
    """Something that people should know. `id` is the same for the same event, `at` is in unix seconds.

    `title` and `text` may hold names out of databases: hostile text, to be escaped by whoever renders it. `thread` is
    what belongs together and is told in order; `facts` are JSON, for notifiers that show more than words.
    """

    id: str
    kind: Kind
    severity: Severity
    title: str
    at: float
    environment: str | None = None
    text: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    thread: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a message went: whatever finds it again there (a file, a channel and time stamp)."""

    reference: str = ""


class NotifyError(CustodeError):
    """A message did not go out."""

    code = "CU700"


class Retryable(NotifyError):  # noqa: N818 - named after what to do about it
    """Trying again may help; `after` is how long the other side asked us to wait, in seconds."""

    code = "CU701"

    def __init__(self, message: str, *, after: float | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class Permanent(NotifyError):  # noqa: N818 - named after what to do about it
    """Trying again cannot help."""

    code = "CU702"


class Notifier(ABC):
    """Sends messages somewhere; `parallel` at once at most, and those of a thread one after the other.

    One that `needs_state` is handed nothing while the state database is away; one that `hears_muted` is told of alerts
    that are silenced as well.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    parallel: ClassVar[int] = 1
    needs_state: ClassVar[bool] = False
    hears_muted: ClassVar[bool] = False

    class Options(Strict):
        """No options."""

    @abstractmethod
    def __init__(self, options: Options, secrets: Secrets) -> None: ...

    @abstractmethod
    async def send(self, message: Message) -> Receipt:
        """Send one message. Raises Retryable or Permanent."""

    async def probe(self) -> str:
        """Look whether a message would go out, without sending one; what was seen. Raises Retryable or Permanent."""
        return "is not tried without a message"

    async def close(self) -> None:
        """Let go of what is open."""
        return
