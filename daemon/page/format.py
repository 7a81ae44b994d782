"""How figures and moments are written on pages: filters of the templates. What is not known (None) is a dash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context

UNKNOWN = "–"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def duration(seconds: float | None) -> str:
    """Seconds in their two largest units: `2d5h`, `3m20s`, `1.5s`, `40ms`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds * 1000:.0f}ms" if 0 < seconds < 0.9995 else f"{seconds:.1f}".removesuffix(".0") + "s"
    left, said = round(seconds), ""
    for index, (unit, letter) in enumerate(_UNITS):
        if left >= unit:
            count, rest = divmod(left, unit)
            said = f"{count}{letter}"
            if index + 1 < len(_UNITS) and (more := rest // _UNITS[index + 1][0]):
                said += f"{more}{_UNITS[index + 1][1]}"
            break
    return said


def ago(at: float | None, now: float) -> str:
    """A moment as seen from `now`, both in unix seconds, roughly: `40s ago`, `5m ago`, `in 2h10m`, `now`."""
    if at is None:
        return UNKNOWN
    seconds = int(abs(now - at))
    if seconds < 1:
        return "now"
    said = duration(seconds - seconds % 60 if seconds >= 60 else seconds)
    return f"{said} ago" if now > at else f"in {said}"


def moment(at: float | None) -> str:
    """Unix seconds as `2026-11-26 11:53:04 UTC`."""
    return UNKNOWN if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(at: float) -> str:
    """Unix seconds as machines read it: `2026-11-26T11:53:04Z`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def size(count: float | None) -> str:
    """Bytes in binary units: `1.5 GiB`."""
    if count is None:
        return UNKNOWN
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or abs(value) >= 99.95 else f"{_short(value)} {unit}"
        value /= 1024
    return f"{_short(value)} TiB"


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def percent(ratio: float | None) -> str:
    """A ratio as `12%`; with one decimal where it is small or nearly whole, never rounded to all or nothing."""
    if ratio is None:
        return UNKNOWN
    value = ratio * 100
    if 0 < abs(value) < 0.1:
        return "<0.1%" if value > 0 else ">-0.1%"
    if 99.9 < value < 100:
        return ">99.9%"
    return f"{_short(value)}%" if abs(value) < 10 or 90 < value < 100 else f"{value:.0f}%"


def number(value: float | None) -> str:
    """`1,234,567` where whole, else four significant digits: `0.9512`."""
    if value is None:
        return UNKNOWN
    if value == value and abs(value) != float("inf") and float(value).is_integer():  # noqa: PLR0124 - NaN is not
        return f"{value:,.0f}"
    return f"{value:,.1f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


@pass_context
def _ago(context: Context, at: float | None) -> str:
    return ago(at, context["now"])


FILTERS: Mapping[str, Callable[..., Any]] = {
    "ago": _ago,
    "bytes": size,
    "duration": duration,
    "iso": iso,
    "moment": moment,
    "number": number,
    "percent": percent,
}
