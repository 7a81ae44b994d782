"""The indexes of an environment, pgvector's among them."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import INDEX, Question, Samples, flag, ratio

INDEXES = Question(
    (
        "index_info",
        "index_valid",
        "index_size_bytes",
        "index_scans_total",
        "index_last_scan_timestamp_seconds",
        "index_bytes_per_tuple",
        "index_best_bytes_per_tuple",
        "index_build_progress_ratio",
        "index_build_remaining_seconds",
    )
)


@dataclass(frozen=True, slots=True)
class Build:
    """A build under way; `remaining_seconds` is an estimate."""

    command: str
    phase: str
    ratio: float | None
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class Index:
    """`bloat` is how many times as large an entry is as it was at its best; `enforces`: unique, primary, constraint.

    Scans are those since the statistics were last reset.
    """

    datname: str
    schemaname: str
    table: str
    name: str
    method: str
    enforces: bool
    valid: bool | None
    size_bytes: float | None
    scans: float | None
    last_scan_at: float | None
    bloat: float | None
    build: Build | None


def indexes(samples: Samples) -> list[Index]:
    """Those that are invalid or being built first, then the largest."""
    valid, size, scans, last, now, best = (samples.by(metric, *INDEX) for metric in INDEXES.metrics[1:7])
    builds = _builds(samples)
    found = []
    for labels in samples.infos("index_info"):
        key = tuple([labels.get(label, "") for label in INDEX])
        datname, schemaname, table, name = key
        index = Index(
            datname,
            schemaname,
            table,
            name,
            labels.get("method", ""),
            "true" in {labels.get("unique"), labels.get("primary"), labels.get("constraint")},
            flag(valid.get(key)),
            size.get(key),
            scans.get(key),
            last.get(key),
            ratio(now.get(key), best.get(key)),
            builds.get(key),
        )
        found.append(index)
    return sorted(
        found, key=lambda one: (one.valid is not False and one.build is None, -(one.size_bytes or 0.0), one.name)
    )


def _builds(samples: Samples) -> dict[tuple[str, ...], Build]:
    labels = (*INDEX, "command", "phase")
    left = samples.by("index_build_remaining_seconds", *labels)
    return {
        key[:4]: Build(key[4], key[5], done, left.get(key))
        for key, done in samples.by("index_build_progress_ratio", *labels).items()
    }
