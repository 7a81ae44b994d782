"""What backups there are in each copy and how far they reach, and what restores have proven."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Any
from weakref import WeakKeyDictionary

import asyncpg

from collectors import Collector, Family, Rows, Target, gauge
from fleet.backups import KnownManifests, Manifest, read_manifests
from fleet.backups.coverage import coverage
from fleet.backups.guide_files import GuideFile, find_files
from fleet.backups.manifest import ROOT, pool_prefixes
from fleet.backups.retention import SERIES, decide, newest_failed
from fleet.durations import Duration
from fleet.errors import ConnectError, StoreError
from fleet.policy import BackupPolicy, Retention
from fleet.stores import Store

FILES = "files"  # the copy that other programs make

COPIES = Family(
    ("copy",),
    (
        gauge(
            "backup_last_success_timestamp_seconds",
            "When the newest good backup of this copy ended, of the database that is worst off, unix seconds.",
        ),
        gauge(
            "backup_recovery_point_timestamp_seconds",
            "The moment whose state the newest good backup of this copy holds, of the database that is worst off: when"
            " it began, unix seconds.",
        ),
        gauge(
            "backup_last_size_bytes", "Size of the newest good backup of this copy, as a restore reads it, in bytes."
        ),
        gauge("backup_last_added_bytes", "What the newest good backup of this copy stored that was new, in bytes."),
        gauge("backup_last_duration_seconds", "How long the newest good backup of this copy took, in seconds."),
        gauge("backup_usual_size_bytes", "Median size of the other good backups of this copy, of two at least."),
        gauge("backup_stored", "How many good backups this copy holds."),
        gauge(
            "backup_stored_size_bytes",
            "What all backups of this copy take in its store, in bytes; what they share is counted once.",
        ),
        gauge("backup_pinned", "How many good backups of this copy are pinned."),
        gauge("backup_prunable", "How many backups of this copy its retention lets go now."),
    ),
)
BY_RETENTION = Family(
    ("copy", "retention"),
    (gauge("backup_stored_by_retention", "How many good backups of this copy are kept by this retention series."),),
)
BROKEN = Family(
    (),
    (
        gauge(
            "backup_files_broken", "How many files of policy.backup.files are empty, cut off, unreadable, unfinished."
        ),
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
        gauge(
            "restore_test_last_queryable_seconds",
            "How long it took until the restored database answered, with all keys, in seconds.",
        ),
        gauge(
            "restore_test_recovery_point_timestamp_seconds",
            "The moment whose state the last proven backup holds, unix seconds.",
        ),
    ),
)


@dataclass(slots=True)
class _Known:
    """What was read of a store; `stored_bytes` is of when it held the backups `ids`."""

    manifests: KnownManifests = field(default_factory=dict)
    ids: frozenset[str] = frozenset()
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Copy:
    name: str
    manifests: Sequence[Manifest]
    stored_bytes: int
    retention: Retention

    @property
    def good(self) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest.succeeded]


class BackupsCollector(Collector):
    name = "backups"
    summary = "age, size and number of backups in each copy, what retention keeps of them, and the last proven restore"
    families = (COPIES, BY_RETENTION, BROKEN, FAILURE, RESTORE_TEST)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)
        timeout: Duration = timedelta(seconds=30)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._known: WeakKeyDictionary[Store, _Known] = WeakKeyDictionary()

    async def collect(self, target: Target) -> list[Rows]:
        policy = target.environment.policy.backup
        stores = _stores(target.stores, policy)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._read(target, name, store)) for name, store in stores.items()]
            looking = group.create_task(asyncio.to_thread(find_files, policy.files, target.now))
        read = [task.result() for task in tasks]
        copies, files = [copy for copy in read if copy is not None], looking.result()
        # where the newest run failed, nothing may go in any copy; where that is unknown, neither
        halted = newest_failed(read[0].manifests, target.now) if read and read[0] is not None else None
        databases = await _databases(target, copies)
        manifests = [manifest for copy in copies for manifest in copy.manifests]
        return [
            COPIES.rows(
                [*(row for copy in copies for row in _in_store(copy, databases, target.now, halted)), *_in_files(files)]
            ),
            BY_RETENTION.rows([record for copy in copies if copy.good for record in _by_retention(copy, target.now)]),
            BROKEN.rows([(sum(file.problem is not None for file in files),)] if policy.files else []),
            FAILURE.rows(_last_failure(manifests)),
            RESTORE_TEST.rows(_last_proof(manifests)),
        ]

    async def _read(self, target: Target, name: str, store: Store) -> _Copy | None:
        environment, known = target.environment, self._known.setdefault(store, _Known())
        retention = environment.policy.backup.retention_in(name)
        try:
            manifests = await read_manifests(store, environment.name, known.manifests)
            ids = frozenset(manifest.id for manifest in manifests)
            if ids != known.ids:  # listing every object costs too much to do each time
                known.stored_bytes, known.ids = await _stored_bytes(store, environment.name), ids
        except StoreError as error:
            target.failed(name, error)
            return None
        return _Copy(name, manifests, known.stored_bytes, retention)


def _stores(stores: Mapping[str, Store], policy: BackupPolicy) -> dict[str, Store]:
    """The stores that are meant to hold backups of the environment: where they are taken, and its copies."""
    return {name: stores[name] for name in dict.fromkeys((*list(stores)[:1], *policy.copies)) if name in stores}


async def _stored_bytes(store: Store, environment: str) -> int:
    prefixes = (f"{ROOT}/{environment}/", *pool_prefixes(environment))
    return sum([stat.size_bytes for prefix in prefixes for stat in await store.list(prefix)])


async def _databases(target: Target, copies: Iterable[_Copy]) -> Collection[str] | None:
    """Those that must be in a backup; None where the server does not tell. Asked only where backups differ."""
    if len({frozenset(one.names) for copy in copies for one in copy.good}) < 2:
        return None
    try:
        return await target.databases()
    except (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return None


def _in_store(
    copy: _Copy, databases: Collection[str] | None, now: float, halted: bool | None
) -> Iterator[Sequence[Any]]:
    reach = coverage(copy.good, databases, now)
    if reach is None:
        return
    last = reach.last
    prunable: int | None = None
    if halted is not None:
        decisions = decide(copy.manifests, copy.retention, now, after_failure=halted)
        prunable = sum(not decision.keep for decision in decisions)
    yield (
        copy.name,
        reach.last_success,
        reach.recovery_point,
        last.size_bytes,
        last.added_bytes if last.snapshots else last.size_bytes,
        last.seconds,
        _usual(manifest.size_bytes for manifest in reach.alike),
        len(copy.good),
        copy.stored_bytes,
        sum(manifest.pin is not None for manifest in copy.good),
        prunable,
    )


def _in_files(files: Sequence[GuideFile]) -> list[Sequence[Any]]:
    """Of these is only known what the file system tells: not how long they took, nor what is to be kept."""
    good = [file for file in files if file.problem is None]
    if not good:
        return []
    *others, last = good
    usual = _usual(file.size_bytes for file in others)
    stored = sum(file.size_bytes for file in files)
    known = (last.at, last.at, last.size_bytes, last.size_bytes, None, usual, len(good), stored)
    return [(FILES, *known, None, None)]


def _usual(sizes: Iterable[int]) -> float | None:
    known = list(sizes)
    return median(known) if len(known) > 1 else None


def _by_retention(copy: _Copy, now: float) -> list[Sequence[Any]]:
    decisions = decide(copy.manifests, copy.retention, now)
    kept = Counter(series for decision in decisions for series in decision.tiers)
    return [(copy.name, series, kept[series]) for series in SERIES if getattr(copy.retention, series)]


def _last_failure(manifests: Iterable[Manifest]) -> list[Sequence[Any]]:
    failed = [manifest.finished_at for manifest in manifests if not manifest.succeeded]
    return [(max(failed),)] if failed else []


def _last_proof(manifests: Iterable[Manifest]) -> list[Sequence[Any]]:
    proven = [(one.proof, one.started_at) for one in manifests if one.proof is not None]
    if not proven:
        return []
    proof, started_at = max(proven, key=lambda one: one[0].at)
    return [(proof.at, proof.seconds, proof.queryable_seconds, started_at)]
