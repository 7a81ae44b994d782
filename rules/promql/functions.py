"""Functions of instant vectors and scalars, as in promql/functions.go of Prometheus 3."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np

from rules.errors import QueryError
from rules.labels import EMPTY, Labels
from rules.promql.matchers import compile_regex
from rules.promql.vector import NOTHING, Floats, Moment, Series, Vector, nameless, remember, single

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]

ELEMENTWISE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sgn": np.sign,
    "sqrt": np.sqrt,
}


def _minimum(values: Floats, low: float) -> Floats:
    result: Floats = np.maximum(values, low)
    return result


def _maximum(values: Floats, high: float) -> Floats:
    result: Floats = np.minimum(values, high)
    return result


def _clamp(values: Floats, low: float, high: float) -> Floats:
    return _minimum(_maximum(values, high), low)


def _round(values: Floats, nearest: float = 1.0) -> Floats:
    inverse = np.float64(1.0) / np.float64(nearest)  # as Prometheus does it, so that ties and digits agree
    result: Floats = np.floor(values * inverse + 0.5) / inverse
    return result


WITH_SCALARS: dict[str, Callable[..., Floats]] = {
    "clamp_min": _minimum,
    "clamp_max": _maximum,
    "clamp": _clamp,
    "round": _round,
}


def elementwise(compute: Callable[..., Floats], vector: Evaluate, scalars: tuple[EvaluateScalar, ...] = ()) -> Evaluate:
    """A computation on each value; the metric's name goes."""
    bare = remember(nameless)

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        values = compute(found.values, *(scalar(moment) for scalar in scalars))
        return Vector(bare(found.series), values, found.present).unique()

    return evaluate


def clamp(vector: Evaluate, low: EvaluateScalar, high: EvaluateScalar) -> Evaluate:
    clamped = elementwise(_clamp, vector, (low, high))
    return lambda moment: NOTHING if high(moment) < low(moment) else clamped(moment)


def absent(vector: Evaluate, labels: Labels) -> Evaluate:
    """1 where the vector is empty, with the labels that the selector asked for by `=`."""
    return lambda moment: NOTHING if vector(moment).present.any() else single(labels, 1.0)


def to_vector(scalar: EvaluateScalar) -> Evaluate:
    return lambda moment: single(EMPTY, scalar(moment))


def to_scalar(vector: Evaluate) -> EvaluateScalar:
    def evaluate(moment: Moment) -> float:
        samples = list(vector(moment).samples())
        return samples[0][1] if len(samples) == 1 else math.nan

    return evaluate


def evaluation_times(vector: Evaluate) -> Evaluate:
    """`timestamp` of anything but a selector: the time of evaluation."""
    bare = remember(nameless)

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        return Vector(bare(found.series), np.full(len(found.series), moment.time), found.present).unique()

    return evaluate


_REFERENCE = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


def _expand(template: str, match: re.Match[str]) -> str:
    """Go's Regexp.Expand: $1, $name, ${name}; an unknown group is empty, $$ is a dollar."""

    def value(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        group = reference[2] or reference[3]
        try:
            return match[int(group) if group.isdigit() else group] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(value, template)


_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def label_replace(vector: Evaluate, target: str, replacement: str, source: str, pattern: str) -> Evaluate:
    """Set `target` from `source` where the whole of it matches; the other elements stay as they are."""
    regex = compile_regex(pattern)
    if not _LABEL_NAME.fullmatch(target):
        raise QueryError(f"invalid destination label name in label_replace(): {target}")

    def change(labels: Labels) -> Labels:
        match = regex.fullmatch(labels.value(source))
        return labels if match is None else labels.updated({target: _expand(replacement, match)})

    relabel: Callable[[Series], Series] = remember(lambda series: series.map(change))

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        return Vector(relabel(found.series), found.values, found.present).unique()

    return evaluate
