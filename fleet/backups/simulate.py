"""What a policy will keep, and what that will take: the policy itself, run over days that have not come yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from itertools import pairwise

from fleet.backups.manifest import Pin, Proof
from fleet.backups.retention import Decision, Series, decide
from fleet.policy import Retention

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Day:
    """After so many days (`day` counts from 1, `at` is its end in unix seconds), when that day's prune is done.

    `series` counts the backups that each series wants; one backup may count in several.
    """

    day: int
    at: float
    backups: int
    stored_bytes: float
    series: Mapping[Series, int]


@dataclass(frozen=True, slots=True)
class Simulation:
    """`kept` is what is there at the end, oldest first, with when each began (unix seconds)."""

    days: tuple[Day, ...]
    kept: tuple[tuple[float, Decision], ...]
    taken: int

    @property
    def peak_bytes(self) -> float:
        return max((day.stored_bytes for day in self.days), default=0.0)


@dataclass(frozen=True, slots=True)
class _Backup:
    """A good one, neither pinned nor proven."""

    id: str
    started_at: float
    number: int
    names: Sequence[str] = ()
    succeeded: bool = True
    pin: Pin | None = None
    proof: Proof | None = None


def simulate(
    retention: Retention,
    interval: timedelta,
    days: int,
    *,
    first_bytes: float = 0.0,
    change_ratio: float = 1.0,
    start: float = 0.0,
    zone: tzinfo = UTC,
) -> Simulation:
    """Back up every `interval` from `start` (unix seconds) on, prune once a day.

    `first_bytes` is what the first backup stores, `change_ratio` how much of it is other data by the next one (1: each
    is a whole copy, as of the engines `custom` and `plain`). Raises ValueError where the interval is not positive.
    """
    if interval <= timedelta(0):
        raise ValueError("the interval between backups must be longer than nothing")
    step, kept, taken = interval.total_seconds(), list[_Backup](), 0
    told: list[Day] = []
    decisions: dict[str, Decision] = {}
    for day in range(1, days + 1):
        end = start + day * _DAY
        while start + taken * step < end:
            kept.append(_Backup(f"{taken:09d}", start + taken * step, taken))
            taken += 1
        decisions = {one.id: one for one in decide(kept, retention, end, zone)}
        kept = [backup for backup in kept if decisions[backup.id].keep]
        series = Counter(series for backup in kept for series in decisions[backup.id].tiers)
        told.append(Day(day, end, len(kept), _stored_bytes(kept, first_bytes, change_ratio), dict(series)))
    return Simulation(tuple(told), tuple((backup.started_at, decisions[backup.id]) for backup in kept), taken)


def _stored_bytes(kept: Sequence[_Backup], first_bytes: float, change_ratio: float) -> float:
    """Pieces of the data change by chance: what changed twice between two backups that are kept is stored once."""
    if not kept:
        return 0.0
    gaps = [later.number - earlier.number for earlier, later in pairwise(kept)]
    return first_bytes * (1 + sum(1 - (1 - change_ratio) ** gap for gap in gaps))
