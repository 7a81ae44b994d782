"""Packs on their way from threads to the store, and a copy that is given up in the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fleet.backups.pool import Pool
from fleet.backups.shelf import Shelf
from fleet.errors import ActionError
from fleet.stores.local import LocalStore


class StuckStore(LocalStore):
    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        await asyncio.Event().wait()
        return await super().put_new(key, content)


def make_shelf(path: Path) -> Shelf:
    return Shelf(Pool(StuckStore(LocalStore.Options(path=path)), "qa"))


async def test_what_is_left_while_it_is_closed_is_given_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the thread would wait for ever for a pack that nobody cancels."""
    shelf = make_shelf(tmp_path)
    left: list[Future[None]] = []
    schedule = asyncio.run_coroutine_threadsafe

    def close_meanwhile(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> Future[None]:
        left.append(schedule(work, loop))
        shelf.close()
        return left[0]

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", close_meanwhile)
    with pytest.raises(ActionError, match="given up"):
        await asyncio.to_thread(shelf.put, bytearray(b"pack"), [])
    assert left[0].cancelled()


async def test_nothing_is_taken_once_it_is_closed(tmp_path: Path) -> None:
    shelf = make_shelf(tmp_path)
    shelf.close()
    with pytest.raises(ActionError, match="given up"):
        await asyncio.to_thread(shelf.put, bytearray(b"pack"), [])
