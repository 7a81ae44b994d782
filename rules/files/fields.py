"""Typed fields of a YAML document, read strictly: every problem is collected, with its line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from rules.durations import parse_duration
from rules.errors import Problem
from rules.files.documents import Mapping, Node, Scalar, Sequence
from rules.files.scalars import (
    MismatchError,
    describe,
    is_merge,
    is_null,
    read_flag,
    read_number,
    read_text,
    read_whole,
)

_MOST_PROBLEMS = 500

T = TypeVar("T")


class FieldReader:
    """Reads nodes into Python values. A missing field and null are the type's zero, as in Go."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.where = ""  # stands before every message

    def problem(self, at: Node | int, message: str) -> None:
        """Note what is wrong at a node, or at a line."""
        if len(self.problems) < _MOST_PROBLEMS:
            line = at if isinstance(at, int) else at.line
            self.problems.append(Problem(self.file, line, f"{self.where}{message}"))
        elif len(self.problems) == _MOST_PROBLEMS:
            self.problems.append(
                Problem(self.file, 1, f"has more than {_MOST_PROBLEMS} problems; the rest is not shown")
            )

    def fields(self, node: Node | None, kind: str, known: Collection[str]) -> dict[str, Node]:
        """The fields of a mapping of some kind; what merge keys add comes after what is written."""
        found: dict[str, Node] = {}
        for key, value in self._pairs(node, kind):
            name = self.text(key)
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
                self.problem(key, f"field {name} not found in a {kind}; {hint}")
            found.setdefault(name, value)
        return found

    def texts(self, node: Node | None) -> dict[str, tuple[str, Node]]:
        """A mapping of texts to texts, each with its node."""
        found: dict[str, tuple[str, Node]] = {}
        for key, value in self._pairs(node, "mapping of texts"):
            found.setdefault(self.text(key), (self.text(value), value))
        return found

    def items(self, node: Node | None, kind: str) -> list[Node]:
        """The items of a list, null ones too."""
        if node is None or is_null(node):
            return []
        if not isinstance(node, Sequence):
            self.problem(node, f"cannot unmarshal {describe(node)} into a list of {kind}s")
            return []
        return node.items

    def text(self, node: Node | None) -> str:
        return self._scalar(node, read_text, "string", "")

    def whole(self, node: Node | None) -> int:
        return self._scalar(node, read_whole, "int", 0)

    def number(self, node: Node | None) -> float:
        return self._scalar(node, read_number, "float64", 0.0)

    def flag(self, node: Node | None) -> bool:
        return self._scalar(node, read_flag, "bool", False)

    def duration(self, node: Node | None) -> float:
        """Seconds."""
        return self._scalar(node, lambda scalar: parse_duration(read_text(scalar)), "duration", 0.0)

    def _scalar(self, node: Node | None, read: Callable[[Scalar], T], kind: str, zero: T) -> T:
        if node is None or is_null(node):
            return zero
        try:
            if not isinstance(node, Scalar):
                raise MismatchError(f"cannot unmarshal {describe(node)} into {kind}")
            return read(node)
        except ValueError as error:
            self.problem(node, str(error))
            return zero

    def _pairs(self, node: Node | None, kind: str) -> Iterator[tuple[Node, Node]]:
        """Keys and values, merge keys resolved: a key that is written out wins, then the first that is merged."""
        if node is None or is_null(node):
            return
        if not isinstance(node, Mapping):
            self.problem(node, f"cannot unmarshal {describe(node)} into a {kind}")
            return
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in node.pairs:
            if not isinstance(key, Scalar):
                self.problem(key, f"cannot unmarshal {describe(key)} into string")
                continue
            if key.text in lines:
                self.problem(key, f'mapping key "{key.text}" already defined at line {lines[key.text]}')
            lines.setdefault(key.text, key.line)
            if is_merge(key):
                merged += value.items if isinstance(value, Sequence) else [value]
            elif not is_null(key):
                yield key, value
        for source in merged:
            if isinstance(source, Mapping):
                yield from self._pairs(source, kind)
            else:
                self.problem(source, "map merge requires map or sequence of maps as the value")
