"""The places of a run where something becomes durable, by name, and what befalls the process there."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

BEFORE, DURING, AFTER = "before", "during", "after"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Boundaries:
    """Notes each point in the file `trace` and ends the process at the point `kill`: its name, or how many points on.

    A point is a place and a moment, as in "commit Work.take 1, before"; places of one name are numbered. `cancel` is
    the point at which `on_cancel` is awaited.
    """

    def __init__(self, trace: Path, kill: str | int | None = None, cancel: str | None = None) -> None:
        self._trace = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._kill, self._cancel = kill, cancel
        self._seen: Counter[str] = Counter()
        self._reached = 0
        self.on_cancel: Callable[[], Awaitable[None]] | None = None

    def enter(self, kind: str, what: str) -> str:
        """The name of the place that comes now."""
        name = f"{kind} {what}"
        self._seen[name] += 1
        return f"{name} {self._seen[name]}"

    async def reach(self, place: str, moment: str) -> None:
        if self.is_fatal(place, moment):
            die()
        self._reached += 1
        point = f"{place}, {moment}"
        os.write(self._trace, f"{point}\n".encode())
        if point == self._cancel and self.on_cancel is not None:
            await self.on_cancel()

    def is_fatal(self, place: str, moment: str) -> bool:
        """Whether the process is to end there."""
        return self._kill in (f"{place}, {moment}", self._reached + 1)
