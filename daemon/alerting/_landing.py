"""Batches that wait to land, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque

from daemon.scrape import Batch


class Landing:
    """`arrived` is set when there is one more. A batch is to be judged where the rules that read it shall be."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._waiting: deque[tuple[Batch, bool]] = deque()

    def put(self, batch: Batch, *, judge: bool) -> None:
        self._waiting.append((batch, judge))
        self.arrived.set()

    def take(self) -> list[tuple[Batch, bool]]:
        """Those that may land before any is judged: one of a collector and environment, or none would see the first."""
        taken: list[tuple[Batch, bool]] = []
        sources: set[tuple[str, str]] = set()
        while self._waiting:
            batch = self._waiting[0][0]
            source = (batch.environment, batch.collector)
            if source in sources:
                break
            sources.add(source)
            taken.append(self._waiting.popleft())
        return taken
