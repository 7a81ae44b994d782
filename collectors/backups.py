"""When the last backup succeeded, in each copy, and when a restore was last proven."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

from collectors import Collector, Family, Rows, Target, gauge
from fleet.backups import KnownManifests, Manifest, read_manifests
from fleet.durations import Duration
from fleet.errors import StoreError
from fleet.stores import Store

COPIES = Family(
    ("copy",),
    (
        gauge("backup_last_success_timestamp_seconds", "When the newest good backup of this copy ended, unix seconds."),
        gauge("backup_last_size_bytes", "Size of the newest good backup of this copy, as stored, in bytes."),
        gauge("backup_last_duration_seconds", "How long the newest good backup of this copy took, in seconds."),
        gauge("backup_stored", "How many good backups this copy holds."),
        gauge("backup_stored_size_bytes", "Size of all good backups of this copy, as stored, in bytes."),
    ),
)
FAILURE = Family(
    (),
    (gauge("backup_last_failure_timestamp_seconds", "When a backup last failed, in any copy, unix seconds."),),
)
RESTORE_TEST = Family(
    (),
    (
        gauge("restore_test_last_success_timestamp_seconds", "When a restore was last proven, unix seconds."),
        gauge("restore_test_last_duration_seconds", "How long the last proven restore took, in seconds."),
    ),
)


class BackupsCollector(Collector):
    name = "backups"
    summary = "age, size and number of backups in each copy, and the last proven restore"
    families = (COPIES, FAILURE, RESTORE_TEST)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=30)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._known: WeakKeyDictionary[Store, KnownManifests] = WeakKeyDictionary()

    async def collect(self, target: Target) -> list[Rows]:
        async with asyncio.TaskGroup() as group:
            tasks = {copy: group.create_task(self._read(target, copy, store)) for copy, store in target.stores.items()}
        copies = {copy: task.result() for copy, task in tasks.items()}
        manifests = [manifest for found in copies.values() for manifest in found]
        return [
            COPIES.rows([record for copy, found in copies.items() if (record := _copy(copy, found))]),
            FAILURE.rows(_last_failure(manifests)),
            RESTORE_TEST.rows(_last_proof(manifests)),
        ]

    async def _read(self, target: Target, copy: str, store: Store) -> list[Manifest]:
        try:
            return await read_manifests(store, target.environment.name, self._known.setdefault(store, {}))
        except StoreError as error:
            target.failed(copy, error)
            return []


def _copy(copy: str, manifests: Iterable[Manifest]) -> Sequence[Any] | None:
    good = [manifest for manifest in manifests if manifest.succeeded]
    if not good:
        return None
    last = max(good, key=lambda manifest: manifest.finished_at)
    return (
        copy,
        last.finished_at,
        last.size_bytes,
        last.finished_at - last.started_at,
        len(good),
        sum(manifest.size_bytes for manifest in good),
    )


def _last_failure(manifests: Iterable[Manifest]) -> list[Sequence[Any]]:
    failed = [manifest.finished_at for manifest in manifests if not manifest.succeeded]
    return [(max(failed),)] if failed else []


def _last_proof(manifests: Iterable[Manifest]) -> list[Sequence[Any]]:
    proven = [(at, manifest.verify_seconds) for manifest in manifests if (at := manifest.verified_at) is not None]
    return [max(proven, key=lambda proof: proof[0])] if proven else []
