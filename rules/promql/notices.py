"""What Prometheus says beside a result, and how Go prints the numbers and texts in it.

The texts are those of util/annotations/annotations.go in Prometheus 3, without the position in the expression.
"""

from __future__ import annotations

import math
from decimal import Decimal

from rules.promql.evaluation import Evaluation


def positional(number: float) -> str:
    """The fewest digits that identify the number, without exponent: Go's FormatFloat(number, 'f', -1, 64)."""
    return f"{Decimal(repr(number)).normalize():f}" if math.isfinite(number) else _special(number)


def general(number: float) -> str:
    """The fewest digits that identify the number, with an exponent below 1e-4 and from 1e6 on: Go's %g."""
    if not math.isfinite(number):
        return _special(number)
    decimal = Decimal(repr(number)).normalize()
    power = decimal.adjusted()
    if -4 <= power < 6 or not number:
        return f"{decimal:f}"
    mantissa = "".join(map(str, decimal.as_tuple().digits))
    point = "." if len(mantissa) > 1 else ""
    return f"{'-' if number < 0 else ''}{mantissa[0]}{point}{mantissa[1:]}e{power:+03d}"


def _special(number: float) -> str:
    return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"


_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    '"': r"\"",
    "\\": r"\\",
}


def quoted(text: str) -> str:
    """Go's %q."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
    evaluation.inform(f"metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {quoted(name)}")


def malformed_bound(evaluation: Evaluation, bound: str, name: str) -> None:
    """`name` is that of the metric, "" where it is not known any more."""
    evaluation.warn(f'bucket label "le" is missing or has a malformed value of {quoted(bound)}{_of(name)}')


def forced_monotonicity(evaluation: Evaluation, name: str) -> None:
    """`name` is that of the metric, "" where it is not known any more."""
    evaluation.inform(
        "input to histogram_quantile needed to be fixed for monotonicity (see "
        f"https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){_of(name)}"
    )


def _of(name: str) -> str:
    return f" for metric name {quoted(name)}" if name else ""
