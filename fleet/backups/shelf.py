"""Packs go from threads that fill them to the store, through the event loop: each thread has at most one under way."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from fleet.backups.chunks import Chunk, Ledger
from fleet.backups.pool import Pool
from fleet.errors import ActionError

_GIVEN_UP = "the copy was given up"


class Shelf:
    """`ledger` has all chunks once `drained` has returned. Made in the event loop, filled by threads."""

    def __init__(self, pool: Pool) -> None:
        self.ledger = Ledger()
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._own = threading.local()
        self._under_way: set[Future[None]] = set()
        self._closed = False

    def put(self, content: bytearray, chunks: list[Chunk]) -> None:
        """In a thread: wait for its pack before, which nobody needs any more then, and leave this one.

        Raises what the store raised for that one.
        """
        before: Future[None] | None = getattr(self._own, "future", None)
        if before is not None:
            before.result()
            self._under_way.discard(before)
        if self._closed:
            raise ActionError(_GIVEN_UP)
        self._own.future = future = asyncio.run_coroutine_threadsafe(self._put(content, chunks), self._loop)
        self._under_way.add(future)
        if self._closed:  # meanwhile: whoever closed it may not have seen this one
            future.cancel()
            raise ActionError(_GIVEN_UP)

    async def drained(self) -> None:
        """Wait for all that was left. Raises what the store raised."""
        for future in list(self._under_way):
            await asyncio.wrap_future(future)

    def close(self) -> None:
        """Take nothing more, and give up what is under way."""
        self._closed = True
        for future in list(self._under_way):  # threads still add to it
            future.cancel()

    async def _put(self, content: bytearray, chunks: list[Chunk]) -> None:
        blob = await self._pool.put(content, sum(chunk.plain_bytes for chunk in chunks))
        self.ledger.add(blob.key, chunks)
