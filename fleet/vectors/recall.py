"""Recall: how many of the nearest rows a search finds, with how sure that is.

Answers are compared by distance, not by row: of rows that are equally far, each is as good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median, variance

from fleet.vectors.search import Answers

K = 10
_Z = 1.96  # 95 %
# pgvector adds up in single precision: two ways to compute one distance differ by this much of it, or of 1
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6


@dataclass(frozen=True, slots=True)
class Recall:
    """Ratios from 0 to 1: the estimate, and the bounds of its 95 % interval."""

    ratio: float
    low: float
    high: float
    queries: int


@dataclass(frozen=True, slots=True)
class Point:
    """Recall, and the median seconds of a search, at a setting."""

    setting: int
    recall: Recall
    seconds: float


def shares(answers: Sequence[Sequence[float]], truth: Sequence[Sequence[float]]) -> list[float]:
    """For each query the share of the true nearest that was found; queries to which nothing is near are left out.

    `answers` may be fewer than `truth`. Both are distances, nearest first.
    """
    return [_share(found, nearest) for found, nearest in zip(answers, truth, strict=False) if nearest]


def estimate(found: Sequence[float], k: int = K) -> Recall | None:
    """Of the shares of some queries; None of none.

    The interval is Wilson's, of as many independent trials as the queries are worth: neighbours of one query are found
    or missed together, so they count less than so many of different ones (the design effect of a cluster sample).
    """
    if not found:
        return None
    ratio = min(1.0, fmean(found))
    independent = ratio * (1 - ratio) / k
    effect = max(1.0, variance(found) / independent) if len(found) > 1 and independent > 0 else 1.0
    trials = len(found) * k / effect
    low, high = wilson(ratio, trials)
    return Recall(ratio, low, high, len(found))


def wilson(ratio: float, trials: float) -> tuple[float, float]:
    """The bounds of Wilson's score interval of 95 %. Source: Wilson 1927, Journal of the ASA 22, p. 209."""
    spread = _Z * _Z / trials
    centre = (ratio + spread / 2) / (1 + spread)
    half = _Z * sqrt(ratio * (1 - ratio) / trials + spread / (4 * trials)) / (1 + spread)
    return 0.0 if ratio <= 0 else centre - half, 1.0 if ratio >= 1 else centre + half


def point(answers: Answers, truth: Sequence[Sequence[float]], k: int = K) -> Point | None:
    """None where nothing was compared."""
    recall = estimate(shares(answers.distances, truth), k)
    return None if recall is None else Point(answers.setting, recall, median(answers.seconds))


def reaching(curve: Sequence[Point], wanted: float) -> Point | None:
    """The least setting of a curve with this recall."""
    good = [one for one in curve if one.recall.ratio >= wanted]
    return min(good, key=lambda one: one.setting, default=None)


def _share(found: Sequence[float], nearest: Sequence[float]) -> float:
    farthest = nearest[-1]
    limit = farthest + _RELATIVE * abs(farthest) + _ABSOLUTE
    return min(len(nearest), sum(distance <= limit for distance in found)) / len(nearest)
