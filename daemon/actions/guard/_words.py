"""Figures for people."""

from __future__ import annotations

import math

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def lasting(seconds: float) -> str:
    """A time in its two largest units, `2d 3h`; what is begun counts as a whole second."""
    rest = max(1, math.ceil(seconds))
    parts: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times in a row"


def size(value: float) -> str:
    """A number of bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
