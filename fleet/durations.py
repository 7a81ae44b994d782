"""Durations as Prometheus writes them: `15s`, `90m`, `1h30m`, `7d`, `2w`, `1y` (a year is 365 days)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {
    "y": 31_536_000_000,
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PATTERN = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def parse_duration(text: object) -> timedelta:
    """Read a duration.

    Raises:
        ValueError: not of the form of the Prometheus documentation, "Time durations" (units in descending order).
    """
    if isinstance(text, timedelta):
        return text
    match = _PATTERN.fullmatch(text) if isinstance(text, str) and text else None
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write it like 15s, 1h30m, 7d or 1y")
    milliseconds = sum(int(n) * scale for n, scale in zip(match.groups(), _UNITS.values(), strict=True) if n)
    return timedelta(milliseconds=milliseconds)


def format_duration(value: timedelta) -> str:
    """Write a duration in the form that `parse_duration` reads, largest unit first: `1d12h`."""
    rest = round(value.total_seconds() * 1000)
    text = ""
    for unit, scale in _UNITS.items():
        if unit == "w":
            continue  # 30d reads better than 4w2d
        count, rest = divmod(rest, scale)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
