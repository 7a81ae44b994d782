"""Which backups a policy keeps, and why: pure, with the semantics of `restic forget --keep-within-...`.

Each series (hourly to yearly) reaches back so long from the newest good backup, not from now, so that a gap uses up
nothing. Of each hour, day, week (from Monday), month and year within reach the newest one is kept, and the oldest of
all for as long as it is within reach. A backup is kept if any series wants it, of any database that it holds: one of
another database alone takes nobody's place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
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
    def names(self) -> Sequence[str]: ...  # of its databases
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

    Whatever the policy says, these stay: of each database the last good one and the newest proven one, what is pinned,
    what a clock that was wrong dated later than now; and all of them where the newest run failed (`after_failure`;
    None: the newest of the items tells) or where no series is set.
    """
    ordered = sorted(items, key=lambda item: (item.started_at, item.id))
    good = [item for item in ordered if item.succeeded]
    past = [item for item in good if item.started_at <= now]
    groups = _by_database(past)
    wanted = _by_policy(groups, retention, zone)
    guarded = _by_guard(ordered, groups, retention, now)
    if newest_failed(ordered, now) if after_failure is None else after_failure:
        for item in ordered:
            guarded.setdefault(item.id, []).append(AFTER_FAILURE)
    return [_decision(item, wanted.get(item.id, []), guarded.get(item.id, [])) for item in ordered]


def newest_failed(items: Iterable[Item], now: float) -> bool:
    """Whether the newest run until `now` (unix seconds) is on record as failed."""
    past = (item for item in items if item.started_at <= now)
    newest = max(past, key=lambda item: (item.started_at, item.id), default=None)
    return newest is not None and not newest.succeeded


def _by_database(good: Sequence[Item]) -> Mapping[str, Sequence[Item]]:
    """The items that hold each database, oldest first; where all hold the same, under one name."""
    if len({frozenset(item.names) for item in good}) == 1:
        return {"": good}
    groups: dict[str, list[Item]] = {}
    for item in good:
        for name in item.names or ("",):
            groups.setdefault(name, []).append(item)
    return groups


def _decision(item: Item, wanted: list[tuple[Series, str]], guarded: list[str]) -> Decision:
    reasons = (*(reason for _, reason in wanted), *guarded)
    tiers = tuple(series for series, _ in wanted)
    if reasons:
        return Decision(item.id, keep=True, reasons=reasons, tiers=tiers)
    why = NOT_WANTED if item.succeeded else f"failed more than {format_duration(FAILURES_KEPT)} ago"
    return Decision(item.id, keep=False, reasons=(why,), tiers=())


def _by_policy(
    groups: Mapping[str, Sequence[Item]], retention: Retention, zone: tzinfo
) -> Mapping[str, list[tuple[Series, str]]]:
    wanted: dict[str, dict[tuple[Series, str], None]] = {}  # without what several databases say alike
    # of all: a database that is gone keeps its backups no longer than the others
    latest = max((item.started_at for good in groups.values() for item in good), default=float("-inf"))
    for good in groups.values():
        for id_, wish in _by_series(good, latest, retention, zone):
            wanted.setdefault(id_, {})[wish] = None
    return {id_: list(wishes) for id_, wishes in wanted.items()}


def _by_series(
    good: Sequence[Item], latest: float, retention: Retention, zone: tzinfo
) -> Iterator[tuple[str, tuple[Series, str]]]:
    if retention.last is not None:
        for item in good[-retention.last :]:
            yield item.id, ("last", f"of the last {retention.last}")
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
                yield item.id, (series, text if newest else f"oldest, {text}")


def _by_guard(
    ordered: Sequence[Item], groups: Mapping[str, Sequence[Item]], retention: Retention, now: float
) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}

    def stays(item: Item, why: str) -> None:
        reasons.setdefault(item.id, []).append(why)

    for name, good in groups.items():
        of = f" of {name}" if name else ""
        stays(good[-1], f"the last good one{of}")
        proven = [item for item in good if item.proof is not None]
        if proven:
            stays(proven[-1], f"the newest proven one{of}")
    for item in ordered:
        if item.started_at > now:
            stays(item, "dated later than now, by a clock that was wrong")
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
