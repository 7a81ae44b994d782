"""Go's time.Time and time.Duration: how they print, and the methods a template can call on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rules.strconv import INT64_MAX, INT64_MIN
from rules.templates.values import Duration, ExpansionError, Month, Pointer, Time, Value, Weekday

SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86400 * SECOND
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_LAYOUT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|01|02|03|04|05|06|2006|15|1|_2006|__2|_2|2|3|4|5|PM|pm"
    r"|-070000|-07:00:00|-0700|-07:00|-07|Z070000|Z07:00:00|Z0700|Z07:00|Z07|[.,](?:0+|9+)(?![0-9])"
)


def _moment(time: Time) -> datetime:
    try:
        return _EPOCH + timedelta(seconds=time.nanoseconds // SECOND)
    except OverflowError as error:
        raise ExpansionError("time out of range") from error


def format_time(time: Time, layout: str) -> str:
    """Time.Format, in UTC."""
    moment, nanoseconds = _moment(time), time.nanoseconds % SECOND

    def part(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] in ".,":
            digits = f"{nanoseconds:09d}"[: len(token) - 1].ljust(len(token) - 1, "0")
            digits = digits.rstrip("0") if token[1] == "9" else digits
            return token[0] + digits if digits else ""
        return _PARTS[token](moment)

    return _LAYOUT.sub(part, layout)


def _offset(text: str) -> Callable[[datetime], str]:
    return lambda _: text


_PARTS: Mapping[str, Callable[[datetime], str]] = {
    "January": lambda at: _MONTHS[at.month - 1],
    "Jan": lambda at: _MONTHS[at.month - 1][:3],
    "1": lambda at: str(at.month),
    "01": lambda at: f"{at.month:02d}",
    "Monday": lambda at: _DAYS[at.isoweekday() % 7],
    "Mon": lambda at: _DAYS[at.isoweekday() % 7][:3],
    "2": lambda at: str(at.day),
    "_2": lambda at: f"{at.day:2d}",
    "02": lambda at: f"{at.day:02d}",
    "__2": lambda at: f"{at.timetuple().tm_yday:3d}",
    "002": lambda at: f"{at.timetuple().tm_yday:03d}",
    "2006": lambda at: f"{at.year:04d}",
    "_2006": lambda at: f"_{at.year:04d}",
    "06": lambda at: f"{at.year % 100:02d}",
    "15": lambda at: f"{at.hour:02d}",
    "3": lambda at: str(at.hour % 12 or 12),
    "03": lambda at: f"{at.hour % 12 or 12:02d}",
    "4": lambda at: str(at.minute),
    "04": lambda at: f"{at.minute:02d}",
    "5": lambda at: str(at.second),
    "05": lambda at: f"{at.second:02d}",
    "PM": lambda at: "PM" if at.hour >= 12 else "AM",
    "pm": lambda at: "pm" if at.hour >= 12 else "am",
    "MST": _offset("UTC"),
    "-0700": _offset("+0000"),
    "-07:00": _offset("+00:00"),
    "-07": _offset("+00"),
    "-070000": _offset("+000000"),
    "-07:00:00": _offset("+00:00:00"),
    **{name: _offset("Z") for name in ("Z0700", "Z07:00", "Z07", "Z070000", "Z07:00:00")},
}


def duration_text(duration: int) -> str:
    """Duration.String: 1h30m0s, 1.5s, 100ms."""
    if not duration:
        return "0s"
    sign, rest = ("-", -duration) if duration < 0 else ("", duration)
    if rest < SECOND:
        unit, scale = ("ns", 1) if rest < 1000 else ("µs", 1000) if rest < 10**6 else ("ms", 10**6)
        return f"{sign}{_fraction(rest, scale)}{unit}"
    minutes, rest = divmod(rest, 60 * SECOND)
    hours, minutes = divmod(minutes, 60)
    lead = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{sign}{lead}{_fraction(rest, SECOND)}s"


def _fraction(number: int, scale: int) -> str:
    whole, rest = divmod(number, scale)
    digits = str(rest).rjust(len(str(scale)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)


def text_of(value: Value) -> str | None:
    """What the type's String method gives; None where it has none."""
    if isinstance(value, Pointer):
        return text_of(value.target)
    if isinstance(value, Time):
        return format_time(value, "2006-01-02 15:04:05.999999999 -0700 MST")
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, Month):
        return _MONTHS[value - 1]
    return _DAYS[value] if isinstance(value, Weekday) else None


@dataclass(frozen=True, slots=True)
class Method:
    """`call` takes the receiver and the arguments, which are of the Go types `wanted`."""

    wanted: tuple[str, ...]
    call: Callable[..., Value]


def method(receiver: Value, name: str) -> Method | None:
    target = receiver.target if isinstance(receiver, Pointer) else receiver
    if name == "String" and isinstance(target, (Time, Duration, Month, Weekday)):
        return Method((), text_of)
    methods = _TIME if isinstance(target, Time) else _DURATION if isinstance(target, Duration) else {}
    found = methods.get(name)
    if found is None or target is receiver:
        return found
    call = found.call
    return Method(found.wanted, lambda _, *arguments: call(target, *arguments))


def _saturated(nanoseconds: int) -> Duration:
    return Duration(max(INT64_MIN, min(INT64_MAX, nanoseconds)))


def _truncated(duration: int, step: int) -> Duration:
    return Duration(duration - (abs(duration) % step) * (1 if duration > 0 else -1) if step > 0 else duration)


def _nearest(nanoseconds: int, step: int) -> int:
    """The multiple of `step` nearest to a number that is not negative; up where two are."""
    return (2 * nanoseconds + step) // (2 * step) * step if step > 0 else nanoseconds


def _rounded(duration: int, step: int) -> Duration:
    size = _nearest(abs(duration), step)
    return _saturated(size if duration >= 0 else -size)


def _since_year_one(time: Time) -> int:
    return time.nanoseconds + 62135596800 * SECOND


def _add_date(time: Time, years: int, months: int, days: int) -> Time:
    moment = _moment(time)
    count = (moment.year + years) * 12 + moment.month - 1 + months
    try:
        date = datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC) + timedelta(days=moment.day - 1 + days)
    except (OverflowError, ValueError) as error:
        raise ExpansionError("time out of range") from error
    return Time((date - _EPOCH).days * _DAY + time.nanoseconds % _DAY)


_TIME: Mapping[str, Method] = {
    "Format": Method(("string",), format_time),
    "Unix": Method((), lambda time: time.nanoseconds // SECOND),
    "UnixMilli": Method((), lambda time: time.nanoseconds // 10**6),
    "UnixMicro": Method((), lambda time: time.nanoseconds // 1000),
    "UnixNano": Method((), lambda time: time.nanoseconds),
    "Year": Method((), lambda time: _moment(time).year),
    "Month": Method((), lambda time: Month(_moment(time).month)),
    "Day": Method((), lambda time: _moment(time).day),
    "Hour": Method((), lambda time: _moment(time).hour),
    "Minute": Method((), lambda time: _moment(time).minute),
    "Second": Method((), lambda time: _moment(time).second),
    "Nanosecond": Method((), lambda time: time.nanoseconds % SECOND),
    "Weekday": Method((), lambda time: Weekday(_moment(time).isoweekday() % 7)),
    "YearDay": Method((), lambda time: _moment(time).timetuple().tm_yday),
    "UTC": Method((), lambda time: time),
    "Local": Method((), lambda time: time),
    "IsZero": Method((), lambda time: _since_year_one(time) == 0),
    "Add": Method(("time.Duration",), lambda time, more: Time(time.nanoseconds + more)),
    "AddDate": Method(("int", "int", "int"), _add_date),
    "Sub": Method(("time.Time",), lambda time, other: _saturated(time.nanoseconds - other.nanoseconds)),
    "After": Method(("time.Time",), lambda time, other: time.nanoseconds > other.nanoseconds),
    "Before": Method(("time.Time",), lambda time, other: time.nanoseconds < other.nanoseconds),
    "Equal": Method(("time.Time",), lambda time, other: time.nanoseconds == other.nanoseconds),
    "Truncate": Method(
        ("time.Duration",),
        lambda time, step: Time(time.nanoseconds - (_since_year_one(time) % step if step > 0 else 0)),
    ),
    "Round": Method(
        ("time.Duration",),
        lambda time, step: Time(time.nanoseconds - _since_year_one(time) + _nearest(_since_year_one(time), step)),
    ),
}


_DURATION: Mapping[str, Method] = {
    "Nanoseconds": Method((), int),
    "Microseconds": Method((), lambda duration: _truncated(duration, 1000) // 1000),
    "Milliseconds": Method((), lambda duration: _truncated(duration, 10**6) // 10**6),
    "Seconds": Method((), lambda duration: duration / SECOND),
    "Minutes": Method((), lambda duration: duration / (60 * SECOND)),
    "Hours": Method((), lambda duration: duration / (3600 * SECOND)),
    "Abs": Method((), lambda duration: _saturated(abs(duration))),
    "Truncate": Method(("time.Duration",), _truncated),
    "Round": Method(("time.Duration",), _rounded),
}
