"""Which backups a policy keeps, and why: pure, with the semantics of `restic forget --keep-within-...`.

Each series (hourly to yearly) reaches back so long from the newest good backup, not from now, so that a gap uses up
nothing. Of each hour, day, week (from Monday), month and year within reach the newest one is kept, and the oldest of
all for as long as it is within reach. A backup is kept if any series wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, Protocol, TypeAlias, get_args

from fleet.backups.manifest import Pin, Proof
from fleet.durations import format_duration
from fleet.policy import Retention

Series: TypeAlias = Literal["last", "hourly", "daily", "weekly", "monthly", "yearly"]
SERIES: tuple[Series, ...] = get_args(Series)

FAILURES_KEPT = timedelta(days=30)
AFTER_FAILURE = "the newest run failed: nothing is removed"
NOT_WANTED = "no series keeps it"


class Item(Protocol):
    """What has to be known of a backup; a `Manifest` is one. `started_at` in unix seconds."""

    @property
    def id(self) -> str: ...
    @property
    def started_at(self) -> float: ...
    @property
    def succeeded(self) -> bool: ...
    @property
    def pin(self) -> Pin | None: ...
    @property
    def proof(self) -> Proof | None: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """`tiers` are the series that want it; `reasons` say all that keeps it, or why it is not kept."""

    id: str
    keep: bool
    reasons: tuple[str, ...]
    tiers: tuple[Series, ...]


def decide(
    items: Iterable[Item], retention: Retention, now: float, zone: tzinfo = UTC, *, after_failure: bool | None = None
) -> list[Decision]:
    """One decision an item, oldest first; `now` in unix seconds, days begin at midnight in `zone`.

    Whatever the policy says, these stay: the last good one, the newest proven one, what is pinned; and all of them
    where the newest run failed (`after_failure`; None: the newest of the items tells) or where no series is set.
    """
    ordered = sorted(items, key=lambda item: (item.started_at, item.id))
    good = [item for item in ordered if item.succeeded]
    wanted = _by_policy(good, retention, now, zone)
    guarded = _by_guard(ordered, good, retention, now)
    if newest_failed(ordered) if after_failure is None else after_failure:
        for item in ordered:
            guarded.setdefault(item.id, []).append(AFTER_FAILURE)
    return [_decision(item, wanted.get(item.id, []), guarded.get(item.id, [])) for item in ordered]


def newest_failed(items: Iterable[Item]) -> bool:
    """Whether the newest run is on record as failed."""
    newest = max(items, key=lambda item: (item.started_at, item.id), default=None)
    return newest is not None and not newest.succeeded


def _decision(item: Item, wanted: list[tuple[Series, str]], guarded: list[str]) -> Decision:
    reasons = (*(reason for _, reason in wanted), *guarded)
    tiers = tuple(series for series, _ in wanted)
    if reasons:
        return Decision(item.id, keep=True, reasons=reasons, tiers=tiers)
    why = NOT_WANTED if item.succeeded else f"failed more than {format_duration(FAILURES_KEPT)} ago"
    return Decision(item.id, keep=False, reasons=(why,), tiers=())


def _by_policy(
    good: Sequence[Item], retention: Retention, now: float, zone: tzinfo
) -> Mapping[str, list[tuple[Series, str]]]:
    wanted: dict[str, list[tuple[Series, str]]] = {}
    if retention.last is not None:
        for item in good[-retention.last :]:
            wanted.setdefault(item.id, []).append(("last", f"of the last {retention.last}"))
    # a clock that was wrong once must not make all others look old
    latest = max((item.started_at for item in good if item.started_at < now), default=float("-inf"))
    for series, period in _PERIODS.items():
        reach: timedelta | None = getattr(retention, series)
        if not reach:
            continue
        seen: Hashable = None
        for item in reversed(good):
            if item.started_at <= latest - reach.total_seconds():
                break
            at = datetime.fromtimestamp(item.started_at, zone)
            newest, seen = period(at) != seen, period(at)
            if newest or item is good[0]:
                text = f"{series} within {format_duration(reach)}"
                wanted.setdefault(item.id, []).append((series, text if newest else f"oldest, {text}"))
    return wanted


def _by_guard(ordered: Sequence[Item], good: Sequence[Item], retention: Retention, now: float) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}

    def stays(item: Item, why: str) -> None:
        reasons.setdefault(item.id, []).append(why)

    if good:
        stays(good[-1], "the last good one")
    proven = [item for item in good if item.proof is not None]
    if proven:
        stays(proven[-1], "the newest proven one")
    for item in ordered:
        if item.pin is not None:
            stays(item, f"pinned: {item.pin.reason}")
        if not item.succeeded and item.started_at > now - FAILURES_KEPT.total_seconds():
            stays(item, f"failed within {format_duration(FAILURES_KEPT)}")
        if item.succeeded and not any(getattr(retention, series) for series in SERIES):
            stays(item, "no retention is set")
    return reasons


# an hour that a clock put back repeats is two hours
_PERIODS: Mapping[Series, Callable[[datetime], Hashable]] = {
    "hourly": lambda at: (at.date(), at.hour, at.utcoffset()),
    "daily": lambda at: at.date(),
    "weekly": lambda at: at.isocalendar()[:2],
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: at.year,
}
