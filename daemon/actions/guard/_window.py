"""Maintenance windows.

A window opens by the clock of its zone and stays open for its length in real time, across midnight and changes of the
clock alike. An opening that the clock skips in spring happens an hour later on the clock, one that it repeats in autumn
happens the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from fleet.durations import format_duration
from fleet.policy import MaintenanceWindow

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK = 7


def is_open(window: MaintenanceWindow, now: float) -> bool:
    """Whether the window is open at `now` (unix seconds)."""
    length = window.length.total_seconds()
    longest = window.length.days + 2
    first = _today(window, now) - timedelta(days=longest)
    return any(begin <= now < begin + length for begin in _openings(window, first, longest + 1))


def opens_next(window: MaintenanceWindow, now: float) -> float:
    """When it opens the next time, later than `now` (both unix seconds)."""
    # where a zone crossed the date line, the opening of a day that never was comes a day later
    first = _today(window, now) - timedelta(days=2)
    return next(begin for begin in _openings(window, first, _WEEK + 4) if begin > now)


def described(window: MaintenanceWindow) -> str:
    days = ", ".join(window.days)
    return f"{days} {window.start:%H:%M} for {format_duration(window.length)}, {window.timezone}"


def _today(window: MaintenanceWindow, now: float) -> date:
    return datetime.fromtimestamp(now, ZoneInfo(window.timezone)).date()


def _openings(window: MaintenanceWindow, first: date, days: int) -> Iterator[float]:
    zone = ZoneInfo(window.timezone)
    for number in range(days):
        day = first + timedelta(days=number)
        if _DAYS[day.weekday()] in window.days:
            yield datetime.combine(day, window.start, zone).astimezone(UTC).timestamp()
