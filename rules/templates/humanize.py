"""The functions of Prometheus that turn numbers into words of people, and into times (template/template.go)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rules.durations import parse_duration
from rules.strconv import four_digits, general, quote, to_int64
from rules.templates.literals import parse_float
from rules.templates.times import text_of
from rules.templates.values import Duration, ExpansionError, Pointer, Time, Value, type_name

_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_LARGE_BINARY = tuple(f"{prefix}i" for prefix in _LARGE)
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")


def number(value: Value) -> float:
    """A number, or a string that is one."""
    if type(value) is float:
        return value
    if type(value) is str:
        try:
            return parse_float(value)
        except ValueError as error:
            raise ExpansionError(str(error)) from error
    if type(value) is int:
        return float(value)
    raise ExpansionError(f"can't convert {type_name(value)} to float")


def _scaled(value: float, base: float, prefixes: Sequence[str]) -> str:
    prefix = ""
    for larger in prefixes:
        if abs(value) < base:
            break
        prefix, value = larger, value / base
    return four_digits(value) + prefix


def _shrunk(value: float) -> str:
    prefix = ""
    for smaller in _SMALL:
        if abs(value) >= 1:
            break
        prefix, value = smaller, value * 1000
    return four_digits(value) + prefix


def humanize(argument: Value) -> str:
    value = number(argument)
    if value == 0 or not math.isfinite(value):
        return four_digits(value)
    return _scaled(value, 1000, _LARGE) if abs(value) >= 1 else _shrunk(value)


def humanize_1024(argument: Value) -> str:
    value = number(argument)
    if abs(value) <= 1 or not math.isfinite(value):
        return four_digits(value)
    return _scaled(value, 1024, _LARGE_BINARY)


def humanize_duration(argument: Value) -> str:
    """Seconds as 1d 2h 3m 4s; below a minute with four significant digits."""
    value = number(argument)
    if not math.isfinite(value):
        return four_digits(value)
    if value == 0:
        return f"{four_digits(value)}s"
    if abs(value) < 1:
        return f"{_shrunk(value)}s"
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole = to_int64(value)
    # what does not fit in 64 bits comes out negative in Go too, in each of the parts
    turn, whole = (-1, -whole) if whole < 0 else (1, whole)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{turn * days}d", f"{turn * hours}h", f"{turn * minutes}m", f"{turn * seconds}s"]
    first = next((place for place, part in enumerate((days, hours, minutes)) if part), None)
    return sign + (f"{four_digits(value)}s" if first is None else " ".join(parts[first:]))


def humanize_percentage(argument: Value) -> str:
    """A ratio as a percentage."""
    return four_digits(number(argument) * 100) + "%"


def _time(value: float) -> Time:
    """Unix seconds as a time, in whole milliseconds."""
    nanoseconds = value * 1e9
    if abs(nanoseconds) > 2.0**63:
        raise ExpansionError(
            f"{general(value)} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    whole = to_int64(nanoseconds)
    return Time(whole // 10**6 * 10**6 if whole >= 0 else -(-whole // 10**6) * 10**6)


def humanize_timestamp(argument: Value) -> str:
    """Unix seconds as a time in UTC."""
    value = number(argument)
    return text_of(_time(value)) or "" if math.isfinite(value) else four_digits(value)


def to_time(argument: Value) -> Pointer:
    value = number(argument)
    if not math.isfinite(value):
        raise ExpansionError("value is NaN or Inf")
    return Pointer(_time(value))


def to_duration(argument: Value) -> Pointer:
    """Seconds as a duration; what does not fit becomes the smallest, as Go's conversion has it on amd64."""
    return Pointer(Duration(to_int64(number(argument) * 1e9)))


def seconds_of(text: str) -> float:
    """parseDuration: 1h30m as seconds."""
    if not text:
        raise ExpansionError("empty duration string")
    try:
        return parse_duration(text)
    except (ValueError, OverflowError) as error:
        if "out of range" in str(error):
            raise ExpansionError("duration out of range") from error
        raise ExpansionError(f"not a valid duration string: {quote(text)}") from error
