"""Durations as Prometheus writes them: 90s, 1h30m, 5d; largest unit first, each at most once."""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?",
    re.ASCII,
)
_UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_MOST = (2**63 - 1) // 10**6  # milliseconds: Prometheus holds nanoseconds in 64 bits
_LONGEST = 200  # characters, so that no number is too long to be read


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError where it is no duration."""
    if text == "0":
        return 0.0
    if not text:
        raise ValueError("empty duration string")
    match = _DURATION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise ValueError(f'not a valid duration string: "{text[:_LONGEST]}"')
    milliseconds = sum(int(count) * unit for count, unit in zip(match.groups(), _UNITS.values(), strict=True) if count)
    if milliseconds > _MOST:
        raise ValueError(f'duration out of range: "{text}"')
    return milliseconds / 1000


def format_duration(seconds: float) -> str:
    """As Prometheus writes it: years and weeks only where nothing smaller is left over."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    text = ""
    for name, unit in _UNITS.items():
        if name in {"y", "w"} and left % unit:
            continue
        if left // unit:
            text += f"{left // unit}{name}"
            left %= unit
    return text
