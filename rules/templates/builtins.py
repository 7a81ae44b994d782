"""The functions every Go template has (text/template/funcs.go), but for "and" and "or", which evaluation cuts short."""

from __future__ import annotations

import re
from collections.abc import Callable

from rules.strconv import from_bytes, to_bytes
from rules.templates.links import query_escape
from rules.templates.printing import sprint, sprintf, text
from rules.templates.values import (
    Arguments,
    Byte,
    Data,
    ExpansionError,
    Pointer,
    Sample,
    Value,
    Vector,
    kind,
    pointed,
    truth,
    type_name,
)

_INVALID = "invalid type for comparison"
_INCOMPATIBLE = "incompatible types for comparison"
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"})
_JS_SPECIAL = re.compile(r"[\\'\"<>&=\x00-\x1f]|[^\x00-\x7f]")
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"'}


def equal(first: Value, *others: Value) -> bool:
    """eq: whether the first equals one of the others."""
    if not others:
        raise ExpansionError("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(first: Value, other: Value) -> bool:
    kinds = {kind(first), kind(other)}
    if kinds == {""}:
        return _same_object(first, other)
    if len(kinds) == 1 or kinds == {"int", "uint"}:
        return first == other
    if first is None or other is None:
        return False
    raise ExpansionError(_INCOMPATIBLE)


def _same_object(first: Value, other: Value) -> bool:
    if first is None or other is None:
        return first is other
    if _shape(first) != _shape(other):
        words = sprintf("non-comparable types %s: %v, %s: %v", (first, type_name(first), type_name(other), other))
        raise ExpansionError(words)
    if isinstance(other, (dict, Vector, Data)):
        raise ExpansionError(sprintf("non-comparable type %s: %v", (other, type_name(other))))
    return first == other


def _shape(value: Value) -> str:
    """Go's reflect.Kind of what is neither number nor text."""
    if isinstance(value, dict):
        return "map"
    return "slice" if isinstance(value, Vector) else "ptr" if isinstance(value, (Sample, Pointer)) else "struct"


def unequal(first: Value, other: Value) -> bool:
    return not equal(first, other)


def less(first: Value, other: Value) -> bool:
    kinds = {kind(first), kind(other)}
    if "" in kinds:
        raise ExpansionError(_INVALID)
    if len(kinds) == 2 and kinds != {"int", "uint"}:
        raise ExpansionError(_INCOMPATIBLE)
    if isinstance(first, str) and isinstance(other, str):
        return str(first) < str(other)
    if isinstance(first, (int, float)) and isinstance(other, (int, float)) and not isinstance(first, bool):
        return first < other
    raise ExpansionError(_INVALID)


def less_or_equal(first: Value, other: Value) -> bool:
    return less(first, other) or equal(first, other)


def greater(first: Value, other: Value) -> bool:
    """gt is the inverse of le, so NaN is greater than everything."""
    return not less_or_equal(first, other)


def greater_or_equal(first: Value, other: Value) -> bool:
    return not less(first, other)


def negate(value: Value) -> bool:
    return not truth(value)


def _position(place: Value, end: int) -> int:
    if place is None:
        raise ExpansionError("cannot index slice/array with nil")
    if isinstance(place, bool) or not isinstance(place, int):
        raise ExpansionError(f"cannot index slice/array with type {type_name(place)}")
    if not 0 <= place <= end:
        raise ExpansionError(f"index out of range: {int(place)}")
    return int(place)


def index(item: Value, *places: Value) -> Value:
    if item is None:
        raise ExpansionError("index of untyped nil")
    for place in places:
        item = _element(item, place)
    return item


def _element(item: Value, place: Value) -> Value:
    if isinstance(item, (str, Vector)):
        elements = to_bytes(item) if isinstance(item, str) else item
        at = _position(place, len(elements))
        if at == len(elements):
            raise ExpansionError(f"reflect: {'string' if isinstance(item, str) else 'slice'} index out of range")
        found = elements[at]
        return Byte(found) if isinstance(found, int) else found
    if isinstance(item, dict):
        if place is None:
            raise ExpansionError("value is nil; should be of type string")
        if type(place) is not str:
            raise ExpansionError(f"value has type {type_name(place)}; should be string")
        return item.get(place, None if isinstance(item, Arguments) else "")
    raise ExpansionError("index of nil pointer" if item is None else f"can't index item of type {pointed(item)}")


def cut(item: Value, *places: Value) -> Value:
    """slice: item[first:last]."""
    if item is None:
        raise ExpansionError("slice of untyped nil")
    if len(places) > 3:
        raise ExpansionError(f"too many slice indexes: {len(places)}")
    if not isinstance(item, (str, Vector)):
        raise ExpansionError(f"can't slice item of type {type_name(item)}")
    if isinstance(item, str) and len(places) == 3:
        raise ExpansionError("cannot 3-index slice a string")
    elements = to_bytes(item) if isinstance(item, str) else item
    bounds = [_position(place, len(elements)) for place in places]
    first, last = (*bounds, *(0, len(elements))[len(bounds) :])[:2]
    for lower, upper in ((first, last), (last, bounds[2] if len(bounds) == 3 else last)):
        if lower > upper:
            raise ExpansionError(f"invalid slice index: {lower} > {upper}")
    part = elements[first:last]
    return type(item)(from_bytes(part)) if isinstance(item, str) and isinstance(part, bytes) else Vector(_samples(part))


def _samples(part: object) -> list[Sample]:
    return part if isinstance(part, list) else []


def length(item: Value) -> int:
    if item is None:
        raise ExpansionError("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(item, str):
        return len(item) if item.isascii() else len(to_bytes(item))
    if isinstance(item, (dict, Vector)):
        return len(item)
    raise ExpansionError(f"len of type {pointed(item)}")


def call(function: Value, *_: Value) -> Value:
    """No value in a rule's template is a function."""
    raise ExpansionError("call of nil" if function is None else f"non-function of type {type_name(function)}")


def _joined(values: tuple[Value, ...]) -> str:
    """Its arguments as print has them, but nil and elements as an action shows them."""
    return sprint([text(value) if value is None or isinstance(value, Sample) else value for value in values])


def html(*values: Value) -> str:
    return _joined(values).translate(_HTML)


def js(*values: Value) -> str:
    def escaped(match: re.Match[str]) -> str:
        mark = match[0]
        if mark in _JS:
            return _JS[mark]
        return mark if not mark.isascii() and mark.isprintable() else f"\\u{ord(mark):04X}"

    return _JS_SPECIAL.sub(escaped, _joined(values))


def urlquery(*values: Value) -> str:
    return query_escape(_joined(values))


COMPARISONS: dict[str, Callable[..., bool]] = {
    "eq": equal,
    "ne": unequal,
    "lt": less,
    "le": less_or_equal,
    "gt": greater,
    "ge": greater_or_equal,
}
