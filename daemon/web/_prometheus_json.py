"""Answers in the JSON of Prometheus's HTTP API, in pieces, so that a large one never exists as a whole.

Numbers and times are written as its util/jsonutil does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

from rules import Answer, Labels
from rules.promql.vector import Floats
from rules.strconv import special

_POINTS = 1000  # in one piece: about 1 ms
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = "0001-01-01T00:00:00Z"  # Go's time that nobody has set
TRUNCATED = "results truncated due to limit"


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes into the envelope. `data` is JSON in pieces."""

    data: Iterable[str]
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()

    @classmethod
    def of(cls, data: Any, *, warnings: Sequence[str] = ()) -> Reply:
        return cls((dumps(data),), warnings)

    def pieces(self) -> Iterator[str]:
        yield '{"status":"success","data":'
        yield from self.data
        for name, texts in (("warnings", self.warnings), ("infos", self.infos)):
            if texts:
                yield f',"{name}":{dumps(list(texts))}'
        yield "}"


def failure(kind: str, message: str) -> str:
    return dumps({"status": "error", "errorType": kind, "error": message})


def dumps(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


def number(value: float) -> str:
    """As many digits as identify it, with an exponent only below 1e-6 and from 1e21 on."""
    text = repr(value)
    if text[-2:] == ".0":
        return text[:-2]
    if "n" in text:
        return special(value)
    return text if "e" not in text or not 1e-6 <= abs(value) < 1e21 else f"{Decimal(text):f}"


@lru_cache(maxsize=16_384)  # all series of a range query have the same times
def timestamp(seconds: float) -> str:
    """Unix seconds with milliseconds where there are any."""
    whole, fraction = divmod(abs(round(seconds * 1000)), 1000)
    sign = "-" if seconds < 0 and (whole or fraction) else ""
    return f"{sign}{whole}.{fraction:03d}" if fraction else f"{sign}{whole}"


def rfc3339(seconds: float | None) -> str:
    """A time in UTC with as many digits as it needs; NEVER for None."""
    if seconds is None:
        return NEVER
    moment = _EPOCH + timedelta(seconds=seconds)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def answer_reply(answer: Answer, at: float, limit: int | None) -> Reply:
    """The answer of a query at `at` (unix seconds), at most `limit` of its series."""
    cut = limit is not None and limit < max(len(answer.vector), len(answer.matrix))
    warnings = (*answer.warnings, TRUNCATED) if cut else answer.warnings
    return Reply(_answer(answer, at, limit), warnings, answer.infos)


def list_reply(items: Sequence[str | Labels], limit: int | None) -> Reply:
    """Names, or the label sets of series, at most `limit` of them."""
    cut = limit is not None and limit < len(items)
    return Reply(_array(map(_item, items[:limit])), (TRUNCATED,) if cut else ())


def _answer(answer: Answer, at: float, limit: int | None) -> Iterator[str]:
    yield f'{{"resultType":"{answer.kind}","result":'
    match answer.kind:
        case "vector":
            yield from _array(_element(labels, at, value) for labels, value in answer.vector[:limit])
        case "matrix":
            yield "["
            for place, (labels, times, values) in enumerate(answer.matrix[:limit]):
                yield f'{"," if place else ""}{{"metric":{_labels(labels)},"values":'
                yield from _points(times, values)
                yield "}"
            yield "]"
        case "scalar":
            yield _point(at, answer.scalar)
        case "string":
            yield f"[{timestamp(at)},{dumps(answer.string)}]"
    yield "}"


def _points(times: Floats, values: Floats) -> Iterator[str]:
    before = "["
    for first in range(0, len(times), _POINTS):
        part = slice(first, first + _POINTS)
        moments, numbers = map(timestamp, times[part].tolist()), map(number, values[part].tolist())
        yield before + ",".join([f'[{moment},"{text}"]' for moment, text in zip(moments, numbers, strict=True)])
        before = ","
    yield "]"


def _point(time: float, value: float) -> str:
    return f'[{timestamp(time)},"{number(value)}"]'


def _element(labels: Labels, at: float, value: float) -> str:
    return f'{{"metric":{_labels(labels)},"value":{_point(at, value)}}}'


def _item(item: str | Labels) -> str:
    return dumps(item) if isinstance(item, str) else _labels(item)


def _labels(labels: Mapping[str, str]) -> str:
    return dumps(dict(labels))


def _array(items: Iterable[str]) -> Iterator[str]:
    before = "["
    for item in items:
        yield before + item
        before = ","
    yield "]" if before == "," else "[]"
