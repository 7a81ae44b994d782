"""Durations as Prometheus writes them: 90s, 1h30m, 5d; largest unit first, each at most once."""

from __future__ import annotations

import re

_DURATION = re.compile(
    r"(?:(?P<y>\d+)y)?(?:(?P<w>\d+)w)?(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?",
    re.ASCII,
)
_SECONDS = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_LONGEST = 2**63 / 1e9  # Prometheus holds nanoseconds in 64 bits


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError where it is no duration."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text) if text else None
    if match is None:
        raise ValueError(f"not a valid duration string: {text!r}")
    seconds = float(sum(int(number) * _SECONDS[unit] for unit, number in match.groupdict().items() if number))
    if seconds > _LONGEST:
        raise ValueError(f"duration out of range: {text!r}")
    return seconds
