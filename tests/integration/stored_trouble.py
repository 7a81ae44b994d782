"""Trouble for the actions that work on stored backups, see `actions_kit`; made by hand, without a server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from fleet.backups import read_manifests
from fleet.stores.local import LocalStore
from tests.snapshots import DAY, ENVIRONMENT, HOUR, dangling, make_snapshot, packs

_OLD = 2


class Stores(Protocol):
    """Where: of `actions_kit.Ground`."""

    @property
    def store(self) -> Path: ...
    @property
    def copy(self) -> Path: ...


def local(path: Path) -> LocalStore:
    return LocalStore(LocalStore.Options(path=path))


async def plant_backup(ground: Stores) -> Mapping[str, Any]:
    manifest = await make_snapshot(local(ground.store), time.time() - HOUR, packs(1, 2))
    return {"id": manifest.id, "reason": "an audit"}


async def count_pins(ground: Stores) -> int:
    return sum(manifest.pin is not None for manifest in await read_manifests(local(ground.store), ENVIRONMENT))


async def plant_backups(ground: Stores) -> Mapping[str, Any]:
    store = local(ground.store)
    await make_snapshot(store, time.time() - DAY - 2 * HOUR, packs(1, 2))  # another day than the next, even at midnight
    await make_snapshot(store, time.time() - HOUR, packs(2, 3))
    return {}


async def count_copied(ground: Stores) -> int:
    return len(await read_manifests(local(ground.copy), ENVIRONMENT))


async def plant_old_backups(ground: Stores) -> Mapping[str, Any]:
    """Two that the policy keeps no longer, and what `plant_backups` plants."""
    store = local(ground.store)
    for number in range(_OLD):
        await make_snapshot(store, time.time() - 40 * DAY + number * HOUR, packs(1, 4 + number))
    return await plant_backups(ground)


async def count_pruned(ground: Stores) -> int:
    return _OLD + 2 - len(await read_manifests(local(ground.store), ENVIRONMENT))


async def count_broken(ground: Stores) -> int:
    """What backups lack, and folders of backups without a manifest."""
    broken = 0
    for store in (local(ground.store), local(ground.copy)):
        known = {manifest.id for manifest in await read_manifests(store, ENVIRONMENT)}
        folders = {stat.key.split("/")[2] for stat in await store.list(f"backups/{ENVIRONMENT}/")} - {
            "garbage.json",
            "damaged.json",
        }
        broken += len(await dangling(store)) + len(folders - known)
    return broken
