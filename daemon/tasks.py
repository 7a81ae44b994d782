"""Tasks that a part of the daemon owns: started with it, and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import structlog

from fleet.errors import CustodeError

log = structlog.get_logger()

STOP_SECONDS = 30.0  # a part that has not ended by then is cancelled once more


@asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup that raises an error of ours as it is, not wrapped in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        error: BaseException | None = errors.subgroup(CustodeError)
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error or errors from None


def owned(group: asyncio.TaskGroup, parts: AsyncExitStack, name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` in the group, and cancel it when its turn to stop comes."""
    task = group.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        while (await asyncio.wait([task], timeout=STOP_SECONDS))[1]:
            log.warning("still_stopping", part=name)
            task.cancel()  # a library may have lost it

    parts.push_async_callback(end)
