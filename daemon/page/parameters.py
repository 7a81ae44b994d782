"""The parameters of an action as fields of a form, and back."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_KINDS = {"integer": "number", "number": "number", "boolean": "choice", "array": "lines"}
_EXAMPLES = {"duration": "such as 15m, 2h or 7d", "date-time": "such as 2026-03-01T02:00:00Z"}
_YES, _NO = "yes", "no"


@dataclass(frozen=True, slots=True)
class Field:
    """`kind` is text, number, choice or lines (of a list, one each); `value` is what stands in it, "" nothing.

    `least`, `most` and `step` are of a number; `choices` begin with "" where nothing may be chosen.
    """

    name: str
    kind: str
    value: str
    help: str
    required: bool
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    step: str = "1"
    example: str = ""


def fields(model: type[BaseModel], given: Mapping[str, str]) -> list[Field]:
    """The fields of a form for `model`. `given` stands in them, and the defaults in the others."""
    defaults, schema = _defaults(model), model.model_json_schema()["properties"]
    return [_field(name, schema[name], given, defaults) for name in model.model_fields]


def read(model: type[BaseModel], given: Mapping[str, str]) -> dict[str, Any]:
    """What a form says, as a request has it: without what was left open, or is the default anyway.

    A text that should be a number stays one: whoever judges the parameters has the words for it.
    """
    defaults, schema = _defaults(model), model.model_json_schema()["properties"]
    said = {name: given[name] for name in model.model_fields if given.get(name, "") != ""}
    return {
        name: _value(_type(schema[name]), text)
        for name, text in said.items()
        if name not in defaults or text != _text(defaults[name])
    }


def _field(name: str, schema: Mapping[str, Any], given: Mapping[str, str], defaults: Mapping[str, Any]) -> Field:
    kind = _type(schema)
    nullable = any(one.get("type") == "null" for one in schema.get("anyOf", ()))
    choices = tuple(kind.get("enum", ())) or ((_YES, _NO) if kind.get("type") == "boolean" else ())
    value = given.get(name, "") or _text(defaults.get(name))
    shape = "choice" if choices else _KINDS.get(kind.get("type", ""), "text")
    # an input of one line would take the line ends out of a name
    shape = "long" if shape == "text" and "\n" in value else shape
    return Field(
        name,
        shape,
        value,
        schema.get("description", "").replace("null:", "empty:"),
        name not in defaults,
        ("", *choices) if choices and nullable else choices,
        kind.get("minimum", kind.get("exclusiveMinimum")),
        kind.get("maximum"),
        "1" if kind.get("type") == "integer" else "any",
        _EXAMPLES.get(kind.get("format", ""), ""),
    )


def _type(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What it is where it is not null."""
    found: Mapping[str, Any] = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    return found


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    known = {name for name, field in model.model_fields.items() if not field.is_required()}
    return model.model_construct().model_dump(mode="json", include=known)


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return _YES if value else _NO
        case list():
            return "\n".join(_text(one) for one in value)
        case _:
            return str(value)


def _value(kind: Mapping[str, Any], text: str) -> Any:
    match kind.get("type"):
        case "array":
            return [_value(kind.get("items", {}), line) for line in text.split("\n") if line.strip()]
        case "boolean":
            return {_YES: True, _NO: False}.get(text, text)
        case "integer":
            with suppress(ValueError):
                return int(text)
        case "number":
            with suppress(ValueError):
                return float(text)
    return text
