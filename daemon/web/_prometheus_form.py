"""The parameters of a request to Prometheus's HTTP API, from the address and from a form; the errors are its own.

The rules are those of parseTime, parseDuration and parseLimitParam in Prometheus's web/api/v1/api.go.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl

from aiohttp import web

from rules.durations import parse_duration

FIRST, LAST = -(2**63) / 1000, 2**63 / 1000  # unix seconds; Prometheus counts milliseconds in 64 bits
READ_SECONDS = 10.0  # how long a form may take to come
_FIELDS = 1000
_LONGEST = (2**63 - 1) / 1e9  # seconds; Go counts nanoseconds in 64 bits
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_ENDS = {"-292273086-05-16T16:47:06Z": FIRST, "292277025-08-18T07:12:54.999999999Z": LAST}
_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_ESCAPED = re.compile(r"(?:[^_]|__|_[0-9a-fA-F]{1,6}_)*")
_ESCAPE = re.compile(r"_([0-9a-fA-F]*)_")


class BadParameterError(Exception):
    """A request that cannot be understood; the text is Prometheus's."""

    @classmethod
    def of(cls, name: str, problem: str) -> BadParameterError:
        return cls(f'invalid parameter "{name}": {problem}')


@dataclass(frozen=True, slots=True)
class Form:
    """The values of each parameter, those of the form before those of the address."""

    values: Mapping[str, list[str]]

    @classmethod
    async def read(cls, request: web.Request) -> Form:
        """Raises BadParameterError for what is no form in UTF-8."""
        texts = [request.raw_path.partition("?")[2]]
        values: dict[str, list[str]] = {}
        try:
            if request.content_type == "application/x-www-form-urlencoded" and request.can_read_body:
                async with asyncio.timeout(READ_SECONDS):
                    texts.insert(0, (await request.read()).decode())
            for text in texts:
                text.encode()  # the server reads bytes that are no UTF-8 as surrogates
                pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS)
                for name, value in pairs:
                    values.setdefault(name, []).append(value)
        except TimeoutError:
            raise BadParameterError("error parsing form values: the form did not come") from None
        except ValueError as error:
            raise BadParameterError(f"error parsing form values: {error}") from error
        return cls(values)

    def text(self, name: str) -> str:
        return self.values.get(name, [""])[0]

    def texts(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def required_time(self, name: str) -> float:
        """Unix seconds. Raises BadParameterError."""
        try:
            return _time(self.text(name))
        except ValueError as error:
            raise BadParameterError.of(name, str(error)) from error

    def time(self, name: str, default: float) -> float:
        """Unix seconds; `default` where the parameter is absent or empty. Raises BadParameterError."""
        text = self.text(name)
        try:
            return _time(text) if text else default
        except ValueError as error:
            raise BadParameterError.of(name, f"Invalid time value for '{name}': {error}") from error

    def duration(self, name: str, default: float | None = None) -> float:
        """Seconds; `default` where the parameter is absent or empty. Raises BadParameterError."""
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            return _duration(text)
        except ValueError as error:
            raise BadParameterError.of(name, str(error)) from error

    def limit(self, name: str = "limit") -> int | None:
        """None is no limit, as is 0. Raises BadParameterError."""
        text = self.text(name)
        if not text:
            return None
        if _WHOLE.fullmatch(text) is None:
            raise BadParameterError.of(name, f'strconv.Atoi: parsing "{text}": invalid syntax')
        if int(text) < 0:
            raise BadParameterError.of(name, f"{name} must be non-negative")
        return int(text) or None

    def truth(self, name: str) -> bool:
        """Raises BadParameterError."""
        text = self.text(name)
        if text and text not in _TRUTHS:
            raise BadParameterError.of(name, f'strconv.ParseBool: parsing "{text}": invalid syntax')
        return _TRUTHS.get(text, False)


def label_name(text: str) -> str:
    """The label that a path names: what begins with U__ is escaped, as in Prometheus 3 (model.UnescapeName)."""
    escaped = text.removeprefix("U__")
    if escaped == text or _ESCAPED.fullmatch(escaped) is None:
        return text
    codes = [int(code, 16) for code in _ESCAPE.findall(escaped) if code]
    if any(code > 0x10FFFF or 0xD800 <= code < 0xE000 for code in codes):
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "_", escaped)


def _time(text: str) -> float:
    if text in _ENDS:
        return _ENDS[text]
    try:
        seconds = float(text) if _NUMBER.fullmatch(text) else _rfc3339(text)
    except ValueError:
        seconds = math.nan
    if not FIRST <= seconds <= LAST:
        raise ValueError(f'cannot parse "{text}" to a valid timestamp')
    return round(seconds, 3)


def _rfc3339(text: str) -> float:
    match = _RFC3339.fullmatch(text)
    if match is None:
        return math.nan
    date, clock, fraction, zone = match.groups(default="")
    zone = "+00:00" if zone in "Zz" else zone
    return datetime.fromisoformat(f"{date}T{clock}.{fraction.ljust(6, '0')}{zone}").timestamp()


def _duration(text: str) -> float:
    seconds = float(text) if _NUMBER.fullmatch(text) else math.nan
    if abs(seconds) > _LONGEST:
        raise ValueError(f'cannot parse "{text}" to a valid duration. It overflows int64')
    try:
        return parse_duration(text) if math.isnan(seconds) else seconds
    except ValueError:
        raise ValueError(f'cannot parse "{text}" to a valid duration') from None
