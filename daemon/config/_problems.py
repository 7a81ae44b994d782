"""What is wrong with a configuration: every problem at once, each at its line and key, with a hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from daemon.config._document import Document, Location, location_text
from daemon.config._models import model_within
from fleet import errors

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` is the key as written (`environments.qa.tier`; empty: the file as a whole), `line` counts from 1."""

    path: str
    line: int | None
    message: str
    hint: str | None = None

    def text(self, source: Path) -> str:
        place = f"{source}:{self.line}" if self.line is not None else str(source)
        said = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{said} ({self.hint})" if self.hint else said


class ConfigError(errors.ConfigError):
    """The configuration cannot be used; `problems` holds all that was found, in order of line."""

    def __init__(self, source: Path, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.path)))
        super().__init__("\n".join(problem.text(source) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Path, tuple[Problem, ...]]]:
        return type(self), (self.source, self.problems)


def closest(word: str, known: Iterable[str]) -> str:
    """A hint that lists the names that would have been right, the likeliest first."""
    names = list(known)
    match = difflib.get_close_matches(word.lower(), names, n=1)
    listed = f"known are: {', '.join(names)}" if names else "there are none"
    return f"did you mean {match[0]}? {listed}" if match else listed


class Problems:
    """Collects what is wrong with one document. Never repeats a value, which may be a secret, only its key."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.found: list[Problem] = []

    def add(self, at: Location, message: str, hint: str | None = None) -> None:
        self.found.append(Problem(location_text(at), self._document.line(at), message, hint))

    def mapping(self, data: object, at: Location) -> dict[str, Any]:
        """`data` if it is a mapping; nothing written is an empty one, and so is anything else, which is told."""
        if isinstance(data, dict):
            return data
        if data is not None:
            self.add(at, "must be a mapping (name: value)")
        return {}

    def validate(self, model: type[M], data: object, at: Location, filled_in: Iterable[str] = ()) -> M | None:
        """Make a `model` of `data`; None when that fails, and why is told. Nobody writes the keys `filled_in`."""
        try:
            return model.model_validate({} if data is None else data)
        except ValidationError as error:
            seen: set[Location] = set()
            for detail in error.errors(include_url=False, include_input=False):
                inner = _as_written(detail["loc"], data, missing=detail["type"] == "missing")
                if inner not in seen:  # each member of a union complains
                    seen.add(inner)
                    known = [key for key in _keys(model, inner[:-1]) if inner[1:] or key not in filled_in]
                    self.add(at + inner, *_explain(detail, inner, data, known))
            return None


def _as_written(loc: Location, data: Any, *, missing: bool) -> Location:
    """Leave out what pydantic adds to a location: members of unions, `[key]`."""
    kept: list[str | int] = []
    for position, step in enumerate(loc):
        if _has(data, step):
            data = data[step]
        elif not (missing and position == len(loc) - 1):
            continue
        kept.append(step)
    return tuple(kept)


def _has(data: object, step: str | int) -> bool:
    if isinstance(data, list | tuple):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, Mapping) and step in data


_MAPPING = ("must be a mapping (name: value)", None)
_LIST = ("must be a list", None)
_SAYINGS: Mapping[str, tuple[str, str | None]] = {
    "missing": ("is missing", None),
    "model_type": _MAPPING,
    "dict_type": _MAPPING,
    "tuple_type": _LIST,
    "list_type": _LIST,
}


def _explain(detail: Any, inner: Location, data: object, known: list[str]) -> tuple[str, str | None]:
    """The message and the hint for one of pydantic's errors, `known` being the keys that could stand there."""
    kind, value = detail["type"], _value(inner, data)
    if kind in _SAYINGS:
        return _SAYINGS[kind]
    if kind == "extra_forbidden":
        return "is not known here", closest(str(inner[-1]), known)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "must be text", "put it in quotes"
    if kind in {"enum", "literal_error"} and isinstance(value, str):
        return "is not one of the possible values", closest(value, re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return message.replace("String should", "must"), None


def _value(at: Location, data: Any) -> object:
    for step in at:
        data = data[step] if _has(data, step) else None
    return data


def _keys(model: type[BaseModel], at: Location) -> list[str]:
    """The keys that `model` knows at a location inside it."""
    current: type[BaseModel] | None = model
    for step in at:
        field = current.model_fields.get(str(step)) if current else None
        if field is not None:
            current = model_within(field.annotation)
    return sorted(current.model_fields) if current else []
