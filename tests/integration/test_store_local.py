"""The local store and whoever is cancelled while it works."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fleet.stores.local import LocalStore
from tests.integration.engines import until


async def test_a_file_that_opens_after_its_reader_was_cancelled_is_closed(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    os.mkfifo(slow)  # opens once somebody writes
    store = LocalStore(LocalStore.Options(path=tmp_path))
    writers: list[int] = []

    async def read() -> None:
        async for _ in store.get("slow"):
            pass

    def opens() -> bool:
        try:
            writers.append(os.open(slow, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody opens it yet
            return False
        return True

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    reading.cancel()
    await until(opens)
    with pytest.raises(asyncio.CancelledError):
        await reading
    os.close(writers.pop())
    with pytest.raises(OSError, match="No such device"):  # nobody reads
        os.open(slow, os.O_WRONLY | os.O_NONBLOCK)
