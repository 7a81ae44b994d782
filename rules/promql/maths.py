"""Functions of each value on its own, as in promql/functions.go of Prometheus 3."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rules.promql.vector import NOTHING, Floats, Moment, Vector, dropping_names

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]


def _sign(values: Floats) -> Floats:
    result: Floats = np.copysign(np.sign(values), values)  # the sign of -0 is -0
    return result


def _degrees(values: Floats) -> Floats:
    return values * 180 / math.pi


def _radians(values: Floats) -> Floats:
    return values * math.pi / 180


ELEMENTWISE: dict[str, Callable[[Floats], Floats]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "deg": _degrees,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": _radians,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}


def _at_least(values: Floats, low: float) -> Floats:
    """Go's math.Max, in which an infinity outdoes NaN."""
    result: Floats = np.maximum(values, low)
    return result if math.isfinite(low) else np.where((values == np.inf) | (low == np.inf), np.inf, result)


def _at_most(values: Floats, high: float) -> Floats:
    """Go's math.Min, in which an infinity outdoes NaN."""
    result: Floats = np.minimum(values, high)
    return result if math.isfinite(high) else np.where((values == -np.inf) | (high == -np.inf), -np.inf, result)


def _clamp(values: Floats, low: float, high: float) -> Floats:
    return _at_least(_at_most(values, high), low)


def _round(values: Floats, nearest: float = 1.0) -> Floats:
    inverse = np.float64(1.0) / np.float64(nearest)  # as Prometheus does it, so that ties and digits agree
    result: Floats = np.floor(values * inverse + 0.5) / inverse
    return result


WITH_SCALARS: dict[str, Callable[..., Floats]] = {
    "clamp_min": _at_least,
    "clamp_max": _at_most,
    "round": _round,
}


def elementwise(compute: Callable[..., Floats], vector: Evaluate, scalars: tuple[EvaluateScalar, ...] = ()) -> Evaluate:
    """A computation on each value; the metric's name goes."""
    drop = dropping_names()

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        values = compute(found.values, *[scalar(moment) for scalar in scalars])
        return Vector(drop(found.series, moment), values, found.present).unique()

    return evaluate


def clamp(vector: Evaluate, low: EvaluateScalar, high: EvaluateScalar) -> Evaluate:
    """Nothing where `high` is below `low`."""
    drop = dropping_names()

    def evaluate(moment: Moment) -> Vector:
        found, least, most = vector(moment), low(moment), high(moment)
        if most < least:
            return NOTHING
        return Vector(drop(found.series, moment), _clamp(found.values, least, most), found.present).unique()

    return evaluate
