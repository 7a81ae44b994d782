"""What an eval needs that the project does not have: native histograms, start timestamps, experimental language."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tests.promqltest.pinned import selectors
from tests.promqltest.script import Eval
from tests.promqltest.series import Pairs

NATIVE = "native histograms"
STARTED = "start timestamps"

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`')
_TRIM = re.compile(r"</|>/")
# promql/parser/functions.go, `Experimental: true`; the two aggregations and fill() are behind flags of their own
_CALLS = re.compile(
    r"\b(double_exponential_smoothing|end|fill|fill_left|fill_right|first_over_time|histogram_quantiles|info|integral"
    r"|limit_ratio|limitk|mad_over_time|max_of|min_of|range|sort_by_label|sort_by_label_desc|start|step"
    r"|ts_of_(?:first|last|max|min)_over_time)\s*(?:\(|\b(?:by|without)\b)"
)
_AT = re.compile(r"@\s*(?:start|end)\s*\(\s*\)")
_EXTENDED = re.compile(r"\b(anchored|smoothed)\b(?!\s*[({=!])")
_RANGE = re.compile(r"\[([^\[\]]*)\]")
_SUM_OF_DURATIONS = re.compile(r"[-+*/%^(]\s*[\w(.]|[\w).]\s*[-+*/%^]")
_OFFSET = re.compile(r"\boffset\s+(?:[-+]?\s*\(|[-+]?\s*[a-z_]+\(|[-+]?[\w.]+\s*[*/%^])")

Matchers = list[tuple[str, str, str]]


def experimental(expr: str) -> list[str]:
    """The experimental functions and syntax of an expression, by name; stable PromQL has none."""
    bare = _AT.sub("", _STRINGS.sub('""', expr))
    found = {match[1] for match in _CALLS.finditer(bare)}
    found |= {match[1] for match in _EXTENDED.finditer(bare)}
    if _OFFSET.search(bare) or any(_SUM_OF_DURATIONS.search(inside) for inside in _RANGE.findall(bare)):
        found.add("duration expressions")
    return sorted(found)


def unavailable(asked: Eval, native: Iterable[Pairs], started: Iterable[Pairs]) -> str | None:
    """Why the eval cannot be judged, given the loaded series that hold native histograms or start timestamps."""
    if asked.native or _TRIM.search(_STRINGS.sub('""', asked.expr)):
        return NATIVE
    read = selectors(asked.expr)
    if any(_reads(asked.expr, read, labels) for labels in native):
        return NATIVE
    if any(_reads(asked.expr, read, labels) for labels in started):
        return STARTED
    return None


def _reads(expr: str, read: Sequence[Matchers] | None, labels: Pairs) -> bool:
    known = dict(labels)
    if read is None:  # the parser does not know the language: any mention of the name counts
        return re.search(rf"\b{re.escape(known.get('__name__', ''))}\b", expr) is not None
    return any(all(_matches(known.get(label, ""), op, value) for label, op, value in matchers) for matchers in read)


def _matches(value: str, op: str, wanted: str) -> bool:
    equal = value == wanted if op in ("=", "!=") else re.fullmatch(wanted, value, re.DOTALL) is not None
    return equal == (op in ("=", "=~"))
