"""Objects in an archive are asked for, and waited for, before a restore reads them."""

from __future__ import annotations

import asyncio

from actions._action import Job
from actions._restore_source import Source
from fleet.backups.pool import read_inventory

POLL_SECONDS = 60.0  # an archive takes hours


async def thaw(job: Job, source: Source) -> None:
    """Return once everything that the snapshot needs can be read; the step's timeout bounds the waiting.

    Raises:
        StoreError: the store refuses, or cannot be asked.
    """
    if source.manifest.inventory is None:
        return
    waiting = await source.store.thaw(await read_inventory(source.store, source.manifest.inventory))
    while waiting:
        job.progress(0.0, f"waiting for {len(waiting)} objects that the store {source.store_name!r} has archived")
        await asyncio.sleep(POLL_SECONDS)
        waiting = await source.store.thaw(waiting)
