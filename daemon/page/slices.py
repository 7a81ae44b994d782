"""Long work of the event loop, cut into slices between which others have their turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TypeVar

SLICE_SECONDS = 0.004

T = TypeVar("T")


class Slices:
    """Of all that is written at the same time one slice is done each time the loop comes round, not one of each."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def all(self, pieces: Iterable[T]) -> list[T]:
        """The pieces, each of which must be quick to make."""
        made: list[T] = []
        rest = iter(pieces)
        while True:
            async with self._turn:
                until = time.perf_counter() + SLICE_SECONDS
                for piece in rest:
                    made.append(piece)
                    if time.perf_counter() >= until:
                        break
                else:
                    return made
                await asyncio.sleep(0)
