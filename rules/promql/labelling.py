"""Functions that change labels, order or kind, and those that ask whether anything is there at all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
import re2

from rules.errors import QueryError
from rules.labels import EMPTY, NAME, Labels
from rules.promql import notices
from rules.promql.matchers import compile_regex
from rules.promql.vector import NOTHING, Ints, Moment, Series, Vector, dropping_names, remember, single
from rules.promql.windows import Ranged

Evaluate = Callable[[Moment], Vector]
EvaluateScalar = Callable[[Moment], float]

_LONGEST = 2**20  # characters of a label value; functions within functions could multiply them without end
_MOST = 2**26  # characters that one function may write into the labels of all series


def to_vector(scalar: EvaluateScalar) -> Evaluate:
    return lambda moment: single(EMPTY, scalar(moment))


def to_scalar(vector: Evaluate) -> EvaluateScalar:
    """The value of the only element, NaN where there is not exactly one."""

    def evaluate(moment: Moment) -> float:
        found = vector(moment)
        places = np.flatnonzero(found.present)
        return float(found.values[places[0]]) if len(places) == 1 else math.nan

    return evaluate


def evaluation_times(vector: Evaluate) -> Evaluate:
    """`timestamp` of anything but a selector: the time of evaluation."""
    drop = dropping_names()

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        series = drop(found.series, moment)
        return Vector(series, np.full(len(series), moment.time), found.present).unique()

    return evaluate


def absent(vector: Evaluate, labels: Labels) -> Evaluate:
    """1 where the vector is empty, with the labels that the selector asked for by `=`."""
    return lambda moment: NOTHING if vector(moment).present.any() else single(labels, 1.0)


def absent_over_time(ranged: Ranged, labels: Labels) -> Evaluate:
    """1 where the range vector has no sample, with the labels that the selector asked for by `=`."""

    def evaluate(moment: Moment) -> Vector:
        seen = any(window.seen.any() for window in ranged(moment).parts)
        return NOTHING if seen else single(labels, 1.0)

    return evaluate


def sort(vector: Evaluate, *, descending: bool) -> Evaluate:
    """The elements by value, NaN last. A range query is sorted by labels anyway and only warned."""

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        if moment.evaluation.start != moment.evaluation.end:
            notices.sorted_in_vain(moment.evaluation)
            return found
        places = np.flatnonzero(found.present)
        values = found.values[places]
        places = places[np.argsort(-values if descending else values, kind="stable")]
        return Vector(found.series.take(places), found.values[places], found.present[places])

    return evaluate


def sort_by_label(vector: Evaluate, names: tuple[str, ...], *, descending: bool) -> Evaluate:
    """The elements by the values of labels in natural order (2 before 10), at last by all labels."""

    def key(labels: Labels) -> tuple[object, ...]:
        return tuple([_natural(labels.value(name)) for name in names]), labels.pairs

    def arrange(series: Series) -> tuple[Series, Ints]:
        order = sorted(range(len(series)), key=lambda place: key(series.labels[place]), reverse=descending)
        places = np.array(order, np.intp)
        return series.take(places), places

    arranged = remember(arrange)

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        if moment.evaluation.start != moment.evaluation.end:
            notices.sorted_in_vain(moment.evaluation)
            return found
        series, places = arranged(found.series)
        return Vector(series, found.values[places], found.present[places])

    return evaluate


_CHUNK = re.compile(r"[0-9]+|[^0-9]+")


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts digits as numbers and all else as text, chunk by chunk; a chunk before or behind digits is just that."""
    return tuple([_chunk(chunk) for chunk in _CHUNK.findall(text)])


def _chunk(text: str) -> tuple[int, int, str]:
    if "0" <= text[0] <= "9":
        return (1, int(text), "") if len(text) < 19 else (1, 10**18, text)
    return (0 if text[0] < "0" else 2), 0, text


def label_replace(
    vector: Evaluate, target: str, replacement: str, source: str, pattern: str, *, compat: int = 3
) -> Evaluate:
    """Set `target` from `source` where the whole of it matches; the other elements stay as they are.

    Raises QueryError, as what it returns does where labels become too long or equal.
    """
    try:
        regex = compile_regex(pattern, compat=compat)
    except QueryError as error:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}", hint=error.message) from error
    _check_name(target, "destination", "label_replace")

    @lru_cache(maxsize=10_000)  # a label has far fewer values than series have labels
    def expanded(text: str) -> str | None:
        match = regex.fullmatch(text)
        return None if match is None else _joined(_expand(replacement, match))

    return _relabelled(vector, target, lambda labels: expanded(labels.value(source)))


def label_join(vector: Evaluate, target: str, separator: str, sources: tuple[str, ...]) -> Evaluate:
    """Set `target` to the values of `sources` with `separator` between them. Raises QueryError as label_replace."""
    for source in sources:
        _check_name(source, "source", "label_join")
    _check_name(target, "destination", "label_join")

    def joined(labels: Labels) -> str:
        parts = [part for source in sources for part in (separator, labels.value(source))]
        return _joined(parts[1:])

    return _relabelled(vector, target, joined)


def _check_name(name: str, role: str, function: str) -> None:
    if not name:
        raise QueryError(f"invalid {role} label name in {function}(): {name}")


def _joined(parts: Iterable[str]) -> str:
    size, found = 0, []
    for part in parts:
        size += len(part)
        if size > _LONGEST:
            raise QueryError(f"a label value of more than {_LONGEST} characters")
        found.append(part)
    return "".join(found)


def _relabelled(vector: Evaluate, target: str, value: Callable[[Labels], str | None]) -> Evaluate:
    """Each element with the label that `value` says, or as it is where that is None."""

    def change(series: Series) -> Series:
        values = [value(labels) for labels in series.labels]
        if sum(len(one) for one in values if one) > _MOST:
            raise QueryError(f"more than {_MOST} characters in the values of the label {target}")
        doomed = series.doomed
        if doomed is not None and target == NAME:  # a name that was just given stays
            doomed = doomed & np.array([one is None for one in values], np.bool_)
        pairs = zip(series.labels, values, strict=True)
        return Series(tuple([one if new is None else one.updated({target: new}) for one, new in pairs]), doomed)

    relabel = remember(change)

    def evaluate(moment: Moment) -> Vector:
        found = vector(moment)
        return Vector(relabel(found.series), found.values, found.present).unique()

    return evaluate


_PIECE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>\w+)|\{(?P<braced>\w+)\})|[^$]+|\$")


def _expand(template: str, match: re2.Match[str]) -> Iterator[str]:
    """Go's Regexp.Expand in pieces: $1, $name, ${name}; an unknown group is empty, $$ is a dollar."""
    for piece in _PIECE.finditer(template):
        name = piece["name"] or piece["braced"]
        if name is None:
            yield "$" if piece["dollar"] else piece[0]
            continue
        group = match.re.groupindex.get(name)
        if name.isdecimal() and name.isascii() and str(int(name[:9])) == name:
            group = int(name)
        if group is not None and group <= match.re.groups:
            yield match.group(group) or ""
