"""The table, made once however many look at it at the same time, and kept for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from daemon.status._board import Board

KEPT_SECONDS = 0.5  # shorter than a page waits before it asks again, so that it sees what it was told of
PATIENCE_SECONDS = 0.05


class LatestBoard:
    """`make` makes a table, `monotonic` is in seconds; somebody must `serve`."""

    def __init__(self, make: Callable[[], Awaitable[Board]], monotonic: Callable[[], float]) -> None:
        self._make = make
        self._monotonic = monotonic
        self._made: tuple[float, Board] | None = None
        self._wanted = asyncio.Event()
        self._next: asyncio.Future[Board] | None = None

    async def __call__(self) -> Board:
        """A table that was begun no longer than KEPT_SECONDS ago; where that takes longer than PATIENCE_SECONDS, the
        one before, which says of when it is. Raises what `make` raises.
        """
        kept = self._made
        if kept is not None and self._monotonic() - kept[0] <= KEPT_SECONDS:
            return kept[1]
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._wanted.set()
        done, _ = await asyncio.wait([self._next], timeout=None if kept is None else PATIENCE_SECONDS)
        return done.pop().result() if done or kept is None else kept[1]

    async def serve(self) -> None:
        """Make tables when they are wanted, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            begun, wanted, self._next = self._monotonic(), self._next, None
            if wanted is None:
                continue
            try:
                board = await self._make()
            except Exception as error:  # noqa: BLE001 - it is for those who wait
                wanted.set_exception(error)
                wanted.exception()  # nobody may wait any longer
            else:
                self._made = begun, board
                wanted.set_result(board)
