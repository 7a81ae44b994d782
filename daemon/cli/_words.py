"""Moments, durations and figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from rich.table import Table
from rich.text import Text

from daemon.status._promises import Fact, size
from fleet.durations import format_duration

_LONGEST = 1e11  # seconds; beyond it, it is no duration


def moment(at: float) -> str:
    """Unix seconds in local time."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """To the second; to a hundredth of one where it is short."""
    return format_duration(timedelta(seconds=round(seconds, 2) if abs(seconds) < 10 else round(seconds)))


def figure(name: str, value: float | str) -> str:
    """In the unit with which the name ends."""
    if isinstance(value, str):
        return value
    if name.endswith("_timestamp_seconds"):
        return moment(value)
    unit = name.rpartition("_")[2]
    if unit == "bytes":
        return size(Fact(value, {}))
    if unit == "seconds" and 0 <= value < _LONGEST:
        return duration(value)
    if unit == "ratio":
        return f"{value:.1%}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def figures_line(figures: Mapping[str, float | str]) -> str:
    return ", ".join(f"{name} {figure(name, value)}" for name, value in figures.items())


def before_and_after(before: Mapping[str, float | str], after: Mapping[str, float | str]) -> Table:
    """The figures side by side; what only one of them has stands alone."""
    table = Table("figure", "before", "after")
    for name in dict.fromkeys([*before, *after]):
        sides = (figure(name, side[name]) if name in side else "" for side in (before, after))
        table.add_row(Text(name), *map(Text, sides))
    return table


def indented(text: str, by: int) -> str:
    """A text of several lines that stays below what it belongs to."""
    return text.replace("\n", "\n" + " " * by)
