"""The notations of promtool's unit tests: a series' labels, and the values of an input series.

    up{job="pg", instance='db1'}      1 1 0x3 _ stale 10+5x4 -1.5e3

The grammar is that of Prometheus (promql/parser: metric, series_values).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rules.labels import NAME, Labels
from rules.store import STALE
from rules.strconv import quote
from rules.templates.literals import unquote

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"""
    r"""|(?P<mark>[{},]|=(?![=~]))|(?P<end>$))""",
    re.ASCII,
)
_NUMBER = r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|(?i:inf|nan)(?![a-zA-Z0-9_]))"
_ITEM = re.compile(
    rf"(?:(?P<gap>_)|(?P<stale>stale)|(?P<start>[-+]?{_NUMBER})(?P<step>[-+]{_NUMBER}(?=x))?)"
    r"(?:x(?P<times>[0-9]{1,19}))?",
    re.ASCII,
)
_OCTAL = re.compile(r"0[0-7]+", re.ASCII)


class NotationError(ValueError):
    """Something is not in the notation."""


@dataclass(frozen=True, slots=True)
class Run:
    """`count` values from `start`, each `step` more than the one before; no sample at all where `start` is None."""

    start: float | None
    step: float
    count: int


def parse_values(text: str) -> tuple[Run, ...]:
    """The values of an input series. Raises NotationError."""
    if "{{" in text:
        raise NotationError("native histograms ({{...}}) are not supported: no environment has any")
    return tuple(_run(item) for item in text.split())


def expand(runs: Iterable[Run]) -> Iterator[float | None]:
    """One value after the other, None where there is no sample; added up step by step, as promtool does."""
    for run in runs:
        value = run.start
        for _ in range(run.count):
            yield value
            if value is not None:
                value += run.step


def _run(item: str) -> Run:
    match = _ITEM.fullmatch(item)
    if match is None or (match["stale"] and match["times"]):
        raise NotationError(f"{quote(item)} is no value: expected a number, a+bxN, a-bxN, axN, _, _xN or stale")
    times = int(match["times"]) if match["times"] else None
    if match["gap"]:
        return Run(None, 0.0, 1 if times is None else times)
    if match["stale"]:
        return Run(STALE, 0.0, 1)
    return Run(_number(match["start"]), _number(match["step"] or "0"), 1 if times is None else times + 1)


def _number(text: str) -> float:
    sign, digits = (-1.0 if text[0] == "-" else 1.0), text.lstrip("+-")
    # a leading zero means octal digits, as in Go
    number = float(int(digits, 8)) if _OCTAL.fullmatch(digits) else float(digits)
    if math.isinf(number) and digits[0] not in "iI":
        raise NotationError(f"{text} is out of range")
    return sign * number


def parse_series(text: str) -> Labels:
    """A series as written in input_series and exp_samples: a metric name, labels in braces, or both.

    Raises NotationError.
    """
    tokens = _tokens(text)
    kind, first = next(tokens)
    pairs: list[tuple[str, str]] = []
    if kind == "name":
        pairs.append((NAME, first))
        kind, first = next(tokens)
    if first == "{" and kind == "mark":
        pairs += _pairs(tokens)
        kind, first = next(tokens)
    elif not pairs:
        raise NotationError(f"{quote(text)} is no series: it begins with neither a metric name nor {{")
    if kind != "end":
        raise NotationError(f"{quote(text)} is no series: unexpected {first} after it")
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise NotationError(f"{quote(text)} is no series: label {twice} is set twice")
    return Labels(dict(pairs))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while True:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise NotationError(f"{quote(text)} is no series: unexpected {quote(text[place:].strip())}")
        place = match.end()
        yield match.lastgroup, match[match.lastgroup]


def _pairs(tokens: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The labels up to the closing brace. A quoted text alone is the metric name, as in Prometheus 3."""
    kind, text = next(tokens)
    while (kind, text) != ("mark", "}"):
        if kind not in {"name", "quoted"} or (kind == "name" and ":" in text):
            raise NotationError(f"unexpected {text or 'end'} among labels, expected a label name or }}")
        name = _unquoted(text) if kind == "quoted" else text
        if not name:
            raise NotationError("a label needs a name")
        sign = next(tokens)
        if sign == ("mark", "="):
            value = next(tokens)
            if value[0] != "quoted":
                raise NotationError(f"unexpected {value[1] or 'end'} among labels, expected a quoted text")
            yield name, _unquoted(value[1])
            sign = next(tokens)
        elif kind == "quoted":
            yield NAME, name
        else:
            raise NotationError(f'label {name} needs "=" and a value')
        if sign == ("mark", ","):
            kind, text = next(tokens)
        elif sign == ("mark", "}"):
            return
        else:
            raise NotationError(f'unexpected {sign[1] or "end"} among labels, expected "=", "," or }}')


def _unquoted(literal: str) -> str:
    try:
        return unquote(literal)
    except ValueError as error:
        raise NotationError(f"{literal} is no quoted text") from error
