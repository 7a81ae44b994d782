"""The one thread in which samples land and expressions are evaluated, so that neither ever holds up the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class RuleThread:
    """Runs what it is handed, one after the other. To be closed."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="rules")

    async def __call__(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, once it was its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Wait for what was handed over."""
        self._executor.shutdown()
