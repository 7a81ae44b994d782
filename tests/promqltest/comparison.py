"""Whether an answer is the expected one. A MismatchError says what was expected and what came."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence

from rules import Answer
from tests.promqltest.script import Eval, Expectation
from tests.promqltest.series import Pairs, Value

EPSILON = 1e-6  # relative error allowed of a value, as upstream
_POSITION = re.compile(r" \(\d+:\d+\)$")
_POSITION_PATTERN = re.compile(r"\s*\\\(\d+:\d+\\\)\$?$")


class MismatchError(Exception):
    pass


def almost_equal(one: float, other: float) -> bool:
    """util/almost.Equal of Prometheus: NaN equals NaN, infinities are exact, the rest relative to the sum of both."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    if one == other:
        return True
    total, apart = abs(one) + abs(other), abs(one - other)
    if one == 0 or other == 0 or total < sys.float_info.min:
        return apart < EPSILON * sys.float_info.min
    return apart / min(total, sys.float_info.max) < EPSILON


def check_answer(asked: Eval, answer: Answer) -> None:
    """Compares values, label sets, times, and the order where it is expected."""
    if answer.kind == "string":
        if answer.string != (asked.string or ""):
            raise MismatchError(f"expected string {asked.string!r}, got {answer.string!r}")
    elif answer.kind == "scalar":
        if asked.scalar is None:
            raise MismatchError(f"expected series {_names(asked)}, got scalar {answer.scalar!r}")
        if not almost_equal(asked.scalar, answer.scalar):
            raise MismatchError(f"expected scalar {asked.scalar!r}, got {answer.scalar!r}")
    elif asked.scalar is not None:
        raise MismatchError(f"expected scalar {asked.scalar!r}, got a {answer.kind}")
    elif answer.kind == "vector":
        check_vector(asked, [(labels.pairs, value) for labels, value in answer.vector])
    else:
        _check_matrix(asked, answer)


def check_vector(asked: Eval, got: Sequence[tuple[Pairs, float]]) -> None:
    """Compares the elements of an instant vector."""
    _check_series(asked, [labels for labels, _ in got], dict(got))
    ordered = bool(asked.expects("ordered"))
    for position, ((labels, value), wanted) in enumerate(zip(got, asked.expected, strict=True)):
        if ordered and labels != wanted:
            raise MismatchError(f"expected {show(wanted)} at position {position + 1}, got {show(labels)}")
        first = asked.expected[labels][0]
        if not isinstance(first, float) or not almost_equal(first, value):
            raise MismatchError(f"{show(labels)}: expected {first!r}, got {value!r}")


def _check_matrix(asked: Eval, answer: Answer) -> None:
    order = [labels.pairs for labels, _, _ in answer.matrix]
    if order != sorted(order):
        raise MismatchError("the series of a matrix are not sorted by labels")
    if asked.expects("ordered"):
        raise MismatchError("expected an ordered result, got a matrix")
    got = {
        labels.pairs: [(round(time * 1000), value) for time, value in zip(times.tolist(), values.tolist(), strict=True)]
        for labels, times, values in answer.matrix
    }
    _check_series(asked, order, got)
    for labels, points in got.items():
        wanted = _points(asked, asked.expected[labels])
        same = [time for time, _ in wanted] == [time for time, _ in points]
        if not same or not all(almost_equal(w, g) for (_, w), (_, g) in zip(wanted, points, strict=True)):
            raise MismatchError(f"{show(labels)}: expected {_show_points(wanted)}, got {_show_points(points)}")


def _points(asked: Eval, values: Sequence[Value]) -> list[tuple[int, float]]:
    """Expected values with their times in milliseconds."""
    points = [(round((asked.start + step * asked.step) * 1000), value) for step, value in enumerate(values)]
    if points and points[-1][0] > round(asked.end * 1000):
        raise MismatchError("more values are expected than the range has steps")
    return [(time, value) for time, value in points if isinstance(value, float)]


def _check_series(asked: Eval, order: Sequence[Pairs], got: Mapping[Pairs, object]) -> None:
    if len(got) != len(order):
        raise MismatchError(f"a series comes twice: {', '.join(map(show, order))}")
    unexpected = [f"{show(labels)} {value}" for labels, value in got.items() if labels not in asked.expected]
    missing = [f"{show(labels)} {values}" for labels, values in asked.expected.items() if labels not in got]
    if unexpected or missing:
        raise MismatchError(
            f"missing: {'; '.join(missing) or 'nothing'}; unexpected: {'; '.join(unexpected) or 'nothing'}"
        )


def check_annotations(asked: Eval, answer: Answer) -> None:
    """Compares warnings and infos with the `expect` lines; without a line of their kind they are not looked at."""
    for kind, texts in (("warn", answer.warnings), ("info", answer.infos)):
        expected = asked.expects(kind)
        if asked.expects(f"no_{kind}") and texts:
            raise MismatchError(f"expected no {kind}, got {list(texts)}")
        lacking = [wanted for wanted in expected if not any(matches(wanted, text) for text in texts)]
        surplus = [text for text in texts if expected and not any(matches(wanted, text) for wanted in expected)]
        if lacking or surplus:
            raise MismatchError(f"expected {kind} {' and '.join(map(_show_message, expected))}, got {list(texts)}")


def check_failure(asked: Eval, message: str) -> None:
    """Compares the error of a query that is expected to fail."""
    for wanted in asked.expects("fail"):
        if not matches(wanted, message):
            raise MismatchError(f"expected the error {_show_message(wanted)}, got {message!r}")


def matches(wanted: Expectation, text: str) -> bool:
    """Positions as in `(1:5)` at the end are left out on both sides: the parser gives none."""
    plain = _POSITION.sub("", text)
    if wanted.pattern is not None:
        return re.search(_POSITION_PATTERN.sub("", wanted.pattern.pattern), plain) is not None
    return wanted.message is None or _POSITION.sub("", wanted.message) == plain


def show(labels: Pairs) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"


def _names(asked: Eval) -> str:
    return ", ".join(map(show, asked.expected)) or "none"


def _show_points(points: Sequence[tuple[int, float]]) -> str:
    return " ".join(f"{value!r}@{time / 1000:g}" for time, value in points) or "no value"


def _show_message(wanted: Expectation) -> str:
    if wanted.pattern is not None:
        return f"a message like {wanted.pattern.pattern}"
    return wanted.message or "any message"
