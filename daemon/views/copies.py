"""The backups of an environment in short: what the collector found in each copy."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples

_COPY = (
    "backup_last_success_timestamp_seconds",
    "backup_recovery_point_timestamp_seconds",
    "backup_last_size_bytes",
    "backup_last_duration_seconds",
    "backup_stored",
    "backup_stored_size_bytes",
    "backup_pinned",
)
COPIES = Question(
    (
        *_COPY,
        "backup_files_broken",
        "backup_last_failure_timestamp_seconds",
        "restore_test_last_success_timestamp_seconds",
        "restore_test_last_duration_seconds",
    )
)


@dataclass(frozen=True, slots=True)
class Copy:
    """What one store holds; `last_...` is of its newest good backup. Moments are unix seconds."""

    name: str
    last_success_at: float | None
    recovery_point_at: float | None
    last_size_bytes: float | None
    last_duration_seconds: float | None
    stored: float | None
    stored_size_bytes: float | None
    pinned: float | None


@dataclass(frozen=True, slots=True)
class BackupsInShort:
    copies: tuple[Copy, ...]
    last_failure_at: float | None
    files_broken: float | None
    restore_tested_at: float | None
    restore_seconds: float | None


def backups_in_short(samples: Samples) -> BackupsInShort:
    columns = [samples.by(metric, "copy") for metric in _COPY]
    names = sorted({key for column in columns for key in column})
    return BackupsInShort(
        tuple(Copy(key[0], *(column.get(key) for column in columns)) for key in names),
        samples.one("backup_last_failure_timestamp_seconds"),
        samples.one("backup_files_broken"),
        samples.one("restore_test_last_success_timestamp_seconds"),
        samples.one("restore_test_last_duration_seconds"),
    )
