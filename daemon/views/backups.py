"""The backups of an environment as programs are told of them; the page shows the same. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from daemon.stored import Copy, Stored, tiers_of
from fleet.backups import Manifest, Pin, Proof
from fleet.backups.retention import Decision, Series
from fleet.policy import Retention


@dataclass(frozen=True, slots=True)
class BackupView:
    """One backup in one store. Times in unix seconds, sizes in bytes as stored.

    `reasons` say why it is kept, or why not; `tiers` are the series of the retention that keep it. `kept_until` is when
    the last of these lets it go, if backups go on as they do; None where something else keeps it, or nothing does.
    """

    id: str
    environment: str
    started_at: float
    finished_at: float
    seconds: float
    succeeded: bool
    error: str | None
    engine: str
    format: int
    server_version: str | None
    tool_version: str | None
    databases: tuple[str, ...]
    size_bytes: int
    added_bytes: int
    parent: str | None
    pin: Pin | None
    proof: Proof | None
    keep: bool
    tiers: tuple[Series, ...]
    reasons: tuple[str, ...]
    kept_until: float | None


@dataclass(frozen=True, slots=True)
class StoreView:
    """What a store holds, oldest first; `problem` where it cannot be read, and what it holds is unknown."""

    name: str
    problem: str | None
    backups: tuple[BackupView, ...]


@dataclass(frozen=True, slots=True)
class FileView:
    """A file that another program left; `at` (unix seconds) is when it was taken."""

    path: str
    at: float
    size_bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Backups:
    """Where backups are taken comes first."""

    environment: str
    stores: tuple[StoreView, ...]
    files: tuple[FileView, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """One backup in all stores that hold it: `copies` by name of the store, which differ in what keeps them only."""

    first: BackupView
    copies: Mapping[str, BackupView]

    @property
    def proof(self) -> Proof | None:
        """The newest proof, wherever it is on record."""
        proofs = [one.proof for one in self.copies.values() if one.proof is not None]
        return max(proofs, key=lambda proof: proof.at, default=None)

    @property
    def pinned(self) -> Mapping[str, Pin]:
        return {name: one.pin for name, one in self.copies.items() if one.pin is not None}


def backups_of(stored: Stored) -> Backups:
    stores = []
    for copy in stored.copies:
        known = tiers_of(copy)
        views = tuple(_backup(manifest, known[manifest.id], copy) for manifest in copy.manifests)
        stores.append(StoreView(copy.name, copy.problem, views))
    files = (FileView(str(one.path), one.at, one.size_bytes, one.problem) for one in stored.files)
    return Backups(stored.environment.name, tuple(stores), tuple(files))


def held(stores: Iterable[StoreView]) -> list[Held]:
    """Every backup once, the newest first."""
    found: dict[str, dict[str, BackupView]] = {}
    for store in stores:
        for one in store.backups:
            found.setdefault(one.id, {})[store.name] = one
    merged = [Held(next(iter(copies.values())), copies) for copies in found.values()]
    return sorted(merged, key=lambda one: (one.first.started_at, one.first.id), reverse=True)


def _backup(manifest: Manifest, decision: Decision, copy: Copy) -> BackupView:
    return BackupView(
        id=manifest.id,
        environment=manifest.environment,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        seconds=manifest.seconds,
        succeeded=manifest.succeeded,
        error=manifest.error,
        engine=manifest.engine,
        format=manifest.format,
        server_version=manifest.server_version,
        tool_version=manifest.tool_version,
        databases=manifest.names,
        size_bytes=manifest.size_bytes,
        added_bytes=manifest.added_bytes,
        parent=manifest.parent,
        pin=manifest.pin,
        proof=manifest.proof,
        keep=decision.keep,
        tiers=decision.tiers,
        reasons=decision.reasons,
        kept_until=_kept_until(manifest, decision, copy.retention),
    )


def _kept_until(manifest: Manifest, decision: Decision, retention: Retention) -> float | None:
    """None where more than the series keeps it: a pin, its being the newest; or a number of backups, not a time."""
    if len(decision.reasons) > len(decision.tiers) or "last" in decision.tiers or not decision.tiers:
        return None
    reach: timedelta = max(getattr(retention, series) for series in decision.tiers)
    return manifest.started_at + reach.total_seconds()
