"""How much of the disks of an environment is free, from its configured sources."""

from __future__ import annotations

import asyncpg
from pydantic import ValidationError

import fleet.disks as disk_sources
from actions._action import Job
from fleet.disks import DiskSource
from fleet.errors import CustodeError
from fleet.plugins import load_plugins


async def fullest(job: Job) -> tuple[float, float] | None:
    """Free and all bytes of the disk with the least share of free room; None where no source tells."""
    kinds = load_plugins(disk_sources, DiskSource)
    found: list[tuple[float, float]] = []
    for name, values in job.environment.disks.items():
        try:
            kind = kinds[name]
            usages = await kind(kind.Options.model_validate(values)).usage(job.connections)
        except (KeyError, ValidationError, CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            continue  # the collector says why
        found += [
            (float(usage.available_bytes), float(usage.size_bytes))
            for usage in usages
            if usage.available_bytes is not None and usage.size_bytes
        ]
    return min(found, key=lambda usage: usage[0] / usage[1]) if found else None
