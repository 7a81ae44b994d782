"""Small notations of the test language: numbers, durations, quoted strings."""

from __future__ import annotations

import re
from collections.abc import Iterator

_UNITS = {"y": 365 * 86400.0, "w": 7 * 86400.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"([+-]?)((?:\d+(?:ms|[ywdhms]))+)")
_PART = re.compile(r"(\d+)(ms|[ywdhms])")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\'\"]))|([^\\]+)|(.)", re.DOTALL
)
_CONTROL = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def duration(text: str) -> float:
    """Seconds of `5m30s`, `600`, `-10s`, `1.5`. Raises ValueError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return float(text)
    seconds = sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(match[2]))
    return round(-seconds if match[1] == "-" else seconds, 3)


def number(text: str) -> float:
    """A number as Go reads it: integers of any base first, then floats with exponent, `Inf`, `NaN`.

    Raises ValueError.
    """
    try:
        return float(int(text, 0))
    except ValueError:
        return float.fromhex(text) if re.match(r"[+-]?0[xX]", text) else float(text)


def unquote(text: str) -> str:
    """The string in double or single quotes with Go's escapes, or in backticks without any. Raises ValueError."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "\"'`":
        raise ValueError(f"not a quoted string: {text}")
    inner = text[1:-1]
    if text[0] == "`":
        if "`" in inner:
            raise ValueError(f"a backtick inside a raw string: {text}")
        return inner
    if re.search(rf"(?<!\\)(?:\\\\)*{text[0]}", inner):
        raise ValueError(f"a quote ends the string early: {text}")
    return b"".join(_pieces(inner)).decode("utf-8", "surrogateescape")


def _pieces(inner: str) -> Iterator[bytes]:
    for match in _ESCAPE.finditer(inner):
        byte, octal, short, long, letter, plain, wrong = match.groups()
        if wrong is not None:
            raise ValueError(f"unknown escape in {inner!r}")
        if plain is not None:
            yield plain.encode()
        elif letter is not None:
            yield bytes([_CONTROL.get(letter, ord(letter))])
        elif byte is not None or octal is not None:
            yield bytes([int(byte, 16) if byte is not None else int(octal, 8)])
        else:
            yield chr(int(short or long, 16)).encode()
