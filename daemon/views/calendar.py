"""Days on which backups were taken, month by month, and days that have none though they should. Pure."""

from __future__ import annotations

from calendar import Calendar
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from daemon.views.backups import Backups, Held, held
from fleet.backups.retention import SERIES, Series
from fleet.policy import BackupPolicy

_WEEKS = Calendar(firstweekday=0)
_DAY = timedelta(days=1)

DayState = Literal["backed up", "failed", "missing", "none", "ahead"]


@dataclass(frozen=True, slots=True)
class Day:
    """A day in UTC, by when backups began. `copies` counts the good ones by store, `tiers` are the series they are in.

    A day is `missing` where one of its backups should still be there and none is; `none` where nothing is wanted of it.
    """

    date: date
    state: DayState
    good: int
    failed: int
    copies: Mapping[str, int]
    tiers: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """Weeks from Monday on; None is a day of another month."""

    first: date
    weeks: tuple[tuple[Day | None, ...], ...]

    @property
    def missing(self) -> tuple[date, ...]:
        return tuple(day.date for week in self.weeks for day in week if day is not None and day.state == "missing")

    @property
    def good(self) -> int:
        return sum(day.good for week in self.weeks for day in week if day is not None)


def months_of(backups: Backups, policy: BackupPolicy, now: float, count: int) -> list[Month]:
    """The last `count` months that are not before the first backup, the newest first; `now` in unix seconds."""
    every = held(backups.stores)
    today = _day(now)
    days: dict[date, list[Held]] = {}
    for one in every:
        days.setdefault(_day(one.first.started_at), []).append(one)
    wanted = _wanted_from(every, policy)
    stores = [store.name for store in backups.stores if store.problem is None]
    begin = min((*days, today))

    def look(day: date) -> Day:
        return _look(day, days.get(day, ()), stores, today, missing=wanted is not None and wanted <= day < today)

    return [
        Month(first, tuple(tuple(look(day) if day.month == first.month else None for day in week) for week in weeks))
        for first in _firsts(today, begin, count)
        if (weeks := _WEEKS.monthdatescalendar(first.year, first.month))
    ]


def _firsts(today: date, begin: date, count: int) -> Iterator[date]:
    first = today.replace(day=1)
    for _ in range(count):
        yield first
        if first <= begin:
            return
        first = (first - _DAY).replace(day=1)


def _look(day: date, taken: Sequence[Held], stores: Sequence[str], today: date, *, missing: bool) -> Day:
    good = [one for one in taken if one.first.succeeded]
    failed = len(taken) - len(good)
    state: DayState = "missing" if missing else "none"
    if day > today:
        state = "ahead"
    elif good:
        state = "backed up"
    elif failed:
        state = "failed"
    tiers = {tier for one in good for copy in one.copies.values() for tier in copy.tiers}
    copies = {name: sum(name in one.copies for one in good) for name in stores}
    return Day(day, state, len(good), failed, copies, tuple(series for series in SERIES if series in tiers))


def _wanted_from(every: Sequence[Held], policy: BackupPolicy) -> date | None:
    """The first whole day of which a backup must be there: promised, and not let go by the retention since."""
    good = [one.first.started_at for one in every if one.first.succeeded]
    if not good or policy.interval is None or policy.interval > _DAY:
        return None
    begin = _day(min(good)) + _DAY
    reaches = [reach for reach in (policy.retention.hourly, policy.retention.daily) if reach]
    if reaches:
        return max(begin, _day(max(good) - max(reaches).total_seconds()) + _DAY)
    return None if any(getattr(policy.retention, series) for series in SERIES) else begin


def _day(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()
