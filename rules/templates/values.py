"""What a template computes with: Go's values and types in Python.

bool, float, complex, str and int are themselves, int standing for Go's int; labels are a dict (map[string]string); None
is nil. A string may hold lone surrogates for bytes that are no UTF-8 (`rules.strconv.to_bytes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Value = object


class ExpansionError(Exception):
    """The expansion cannot go on; the text is Go's, without the place."""


class Html(str):
    """template.HTML, what safeHtml returns."""

    __slots__ = ()


class Byte(int):
    """uint8, one element of a string."""

    __slots__ = ()


class Arguments(dict[str, Value]):
    """map[string]interface {}, what args returns."""


@dataclass(frozen=True, slots=True)
class Data:
    """The dot of an annotation."""

    labels: dict[str, str]
    external_labels: dict[str, str]
    external_url: str
    value: float

    FIELDS: ClassVar[Mapping[str, str]] = {
        "Labels": "labels",
        "ExternalLabels": "external_labels",
        "ExternalURL": "external_url",
        "Value": "value",
    }


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """*template.sample, an element of a query's result."""

    labels: dict[str, str]
    value: float

    FIELDS: ClassVar[Mapping[str, str]] = {"Labels": "labels", "Value": "value"}


class Vector(list[Sample]):
    """template.queryResult."""


class Duration(int):
    """time.Duration, in nanoseconds."""

    __slots__ = ()


class Month(int):
    __slots__ = ()


class Weekday(int):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Time:
    """time.Time in UTC: nanoseconds since 1970."""

    nanoseconds: int


@dataclass(frozen=True, slots=True, eq=False)
class Pointer:
    """*time.Time of toTime, *time.Duration of toDuration."""

    target: Time | Duration


_TYPES: Mapping[type, str] = {
    type(None): "<nil>",
    bool: "bool",
    int: "int",
    float: "float64",
    complex: "complex128",
    str: "string",
    dict: "map[string]string",
    Html: "template.HTML",
    Byte: "uint8",
    Arguments: "map[string]interface {}",
    Data: "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value float64 }",
    Sample: "*template.sample",
    Vector: "template.queryResult",
    Duration: "time.Duration",
    Month: "time.Month",
    Weekday: "time.Weekday",
    Time: "time.Time",
}
NILABLE = frozenset({"any", "template.queryResult", "*template.sample"})


def type_name(value: Value) -> str:
    """The type as Go writes it."""
    return f"*{type_name(value.target)}" if isinstance(value, Pointer) else _TYPES[type(value)]


def pointed(value: Value) -> str:
    """The type without the pointer to it."""
    return type_name(value).removeprefix("*")


def truth(value: Value) -> bool:
    """Whether if takes it for true: whatever is not the zero of its type; structs and pointers are."""
    return bool(value) if isinstance(value, (str, int, float, complex, dict, Vector)) else value is not None


def kind(value: Value) -> str:
    """What eq and lt compare by; "" for what they cannot order."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "uint" if isinstance(value, Byte) else "int"
    return "string" if isinstance(value, str) else type(value).__name__ if isinstance(value, (float, complex)) else ""


def validated(value: Value, wanted: str) -> Value:
    """The value as an argument of the Go type `wanted` ("any" takes all). Raises ExpansionError."""
    if wanted == "any":
        return value
    if value is None:
        if wanted in NILABLE:
            return nil_of(wanted)
        raise ExpansionError(f"invalid value; expected {wanted}")
    name = type_name(value)
    if name == wanted:
        return value
    if isinstance(value, Pointer) and name == f"*{wanted}":
        return value.target
    raise ExpansionError(f"wrong type for value; expected {wanted}; got {name}")


def nil_of(wanted: str) -> Value:
    """nil as a value of a type; a nil slice is an empty one."""
    return Vector() if wanted == "template.queryResult" else None
