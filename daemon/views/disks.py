"""The disks of an environment, and when they will be full."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.views.samples import Question, Samples, ratio

_LABELS = ("mountpoint", "source")
DISKS = Question(
    ("disk_size_bytes", "disk_available_bytes", "disk_full_seconds", "policy_disk_free_ratio"),
    # a minute or two of samples foretell nothing: an hour of them at least
    {
        "in_a_day_bytes": (
            "predict_linear(custode_disk_available_bytes{environment=$environment}[6h], 86400)"
            " and custode_disk_available_bytes{environment=$environment} offset 1h"
        )
    },
)


@dataclass(frozen=True, slots=True)
class Disk:
    """`full_seconds` is until it is full, by a line through the last six hours; None: it does not fill, or too little
    is known. `in_a_day_bytes` is what is free in a day by the same line.
    """

    mountpoint: str
    source: str
    size_bytes: float
    available_bytes: float | None
    free_ratio: float | None
    promised_ratio: float | None
    full_seconds: float | None
    in_a_day_bytes: float | None


def disks(samples: Samples) -> list[Disk]:
    available, full, later = (
        samples.by(name, *_LABELS) for name in ("disk_available_bytes", "disk_full_seconds", "in_a_day_bytes")
    )
    promised = samples.one("policy_disk_free_ratio")
    found = []
    for key, size in sorted(samples.by("disk_size_bytes", *_LABELS).items()):
        mountpoint, source = key
        free = available.get(key)
        found.append(Disk(mountpoint, source, size, free, ratio(free, size), promised, full.get(key), later.get(key)))
    return found
