"""What Prometheus says beside a result.

The texts are those of util/annotations/annotations.go in Prometheus 3, without the position in the expression.
"""

from __future__ import annotations

from rules.promql.evaluation import Evaluation
from rules.strconv import general, quote


def check_quantile(evaluation: Evaluation, phi: float) -> None:
    if not 0 <= phi <= 1:
        evaluation.warn(f"quantile value should be between 0 and 1, got {general(phi)}")


def check_ratio(evaluation: Evaluation, ratio: float) -> None:
    if not -1 <= ratio <= 1:
        capped = "1" if ratio > 1 else "-1"
        evaluation.warn(f"ratio value should be between -1 and 1, got {general(ratio)}, capping to {capped}")


def sorted_in_vain(evaluation: Evaluation) -> None:
    evaluation.warn("sort is ineffective for range queries since results are always ordered by labels")


def not_a_counter(evaluation: Evaluation, name: str) -> None:
    evaluation.inform(f"metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {quote(name)}")


def malformed_bound(evaluation: Evaluation, bound: str, name: str) -> None:
    """`name` is that of the metric, "" where it is not known any more."""
    evaluation.warn(f'bucket label "le" is missing or has a malformed value of {quote(bound)}{_of(name)}')


def forced_monotonicity(evaluation: Evaluation, name: str) -> None:
    """`name` is that of the metric, "" where it is not known any more."""
    evaluation.inform(
        "input to histogram_quantile needed to be fixed for monotonicity (see "
        f"https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){_of(name)}"
    )


def _of(name: str) -> str:
    return f" for metric name {quote(name)}" if name else ""
