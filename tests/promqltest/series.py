"""A series and its values in expanding notation: `metric{a="b"} 1+2x3 _ stale NaN {{count:1}}x2`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from tests.promqltest.notation import unquote

Pairs = tuple[tuple[str, str], ...]


class Mark(Enum):
    MISSING = auto()  # no sample at this step
    STALE = auto()  # a stale marker
    NATIVE = auto()  # a native histogram, which this project does not know


Value = float | Mark


@dataclass(frozen=True, slots=True)
class Series:
    """`labels` are sorted, the metric's name is `__name__`; `started`: the samples carry start timestamps."""

    labels: Pairs
    values: tuple[Value, ...]
    started: bool = False

    @property
    def native(self) -> bool:
        return Mark.NATIVE in self.values


_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')
_TOKEN = re.compile(r"(?:\{\{.*?\}\}|[^\s{])+")
_NUMBER = r"(?:(?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf|nan))"
_BLANK = re.compile(r"_(?:x(\d+))?")
_STALE = re.compile(r"stale(?:x(\d+))?")
_FLOATS = re.compile(rf"([+-]?{_NUMBER})(?:([+-]{_NUMBER})?x(\d+))?")
_HISTOGRAMS = re.compile(r"\{\{.*?\}\}(?:(?:[+-]\{\{.*?\}\})?x(\d+))?")


def series(text: str) -> Series:
    """Raises ValueError with the place that is wrong."""
    labels, rest = metric(text)
    return Series(labels, values(rest))


def metric(text: str) -> tuple[Pairs, str]:
    """The labels at the start of `text` and what follows them. Raises ValueError."""
    labels: dict[str, str] = {}
    position = 0
    if match := _NAME.match(text):
        labels["__name__"] = match[0]
        position = _skip(text, match.end())
    if text.startswith("{", position) and not text.startswith("{{", position):
        position = _braces(text, position + 1, labels)
    elif not match:
        raise ValueError(f"no metric at the start of {text!r}")
    return tuple(sorted((name, value) for name, value in labels.items() if value)), text[position:]


def _braces(text: str, position: int, labels: dict[str, str]) -> int:
    """Reads `a="b", "c.d"="e", "metric.name"}` into `labels` and returns the place behind it."""
    while True:
        position = _skip(text, position)
        if text.startswith("}", position):
            return position + 1
        match = _QUOTED.match(text, position) or _NAME.match(text, position)
        if match is None:
            raise ValueError(f"no label name in {text[position:]!r}")
        name = unquote(match[0]) if match[0][0] in "\"'`" else match[0]
        position = _skip(text, match.end())
        if text.startswith("=", position):
            value = _QUOTED.match(text, _skip(text, position + 1))
            if value is None:
                raise ValueError(f"no label value in {text[position:]!r}")
            labels[name] = unquote(value[0])
            position = _skip(text, value.end())
        else:
            labels["__name__"] = name
        if text.startswith(",", position):
            position += 1
        elif not text.startswith("}", position):
            raise ValueError(f"neither a comma nor a brace in {text[position:]!r}")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def values(text: str) -> tuple[Value, ...]:
    """All values of the expanding notation. Raises ValueError."""
    expanded: list[Value] = []
    if _TOKEN.sub("", text).strip():
        raise ValueError(f"not values: {text!r}")
    for token in _TOKEN.findall(text):
        expanded += _expand(token)
    return tuple(expanded)


def _expand(token: str) -> list[Value]:
    if match := _BLANK.fullmatch(token):
        return [Mark.MISSING] * int(match[1] or 1)
    if match := _STALE.fullmatch(token):
        return [Mark.STALE] * (int(match[1] or 0) + 1)
    if match := _HISTOGRAMS.fullmatch(token):
        return [Mark.NATIVE] * (int(match[1] or 0) + 1)
    if match := _FLOATS.fullmatch(token):
        # summed step by step, as Prometheus does: the rounding is part of the value
        value, change = float(match[1]), float(match[2] or "0")
        steps: list[Value] = []
        for _ in range(int(match[3] or 0) + 1):
            steps.append(value)
            value += change
        return steps
    raise ValueError(f"not a value: {token!r}")
