"""A YAML document as plain values, with the line of every key. Safe against hostile input."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Location = tuple[str | int, ...]
MAX_BYTES = 512 * 1024
MAX_VALUES = 50_000  # after aliases are expanded
MAX_DEPTH = 30
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """`doubled` are keys that stand twice in one mapping, with the line of the second; the first counts."""

    value: Any
    lines: dict[Location, int] = field(default_factory=dict)
    doubled: list[tuple[Location, int]] = field(default_factory=list)

    def line(self, at: Location) -> int | None:
        """The line of the key at a location, or of the nearest one that encloses it; counts from 1."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at)


class DocumentError(Exception):
    """The text is no document that we read. `message` never quotes the text, which may hold secrets."""

    def __init__(self, message: str, *, line: int | None = None, at: Location = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.at = at
        self.hint = hint


def location_text(at: Location) -> str:
    """`environments.qa.databases[0]`."""
    text = ""
    for step in at:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            # dsn:postgresql://... without a space becomes a key, and keys are printed
            shown = step if re.fullmatch(r"[\w.@/-]{1,80}", step) else re.split(r"[^\w.-]", step)[0][:40] + "…"
            text += f".{shown}" if text else shown
    return text


def read_document(text: str) -> Document:
    """Read one YAML document.

    Raises:
        DocumentError: broken YAML, an unknown tag, or too large once its aliases are expanded.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", column {mark.column + 1}" if mark else ""
        raise DocumentError(f"broken YAML: {_unquoted(error)}{place}", line=mark.line + 1 if mark else None) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError("broken YAML: a character that YAML does not allow", line=line) from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    walk = _Walk()
    return Document(walk.value(node, ()) if node is not None else None, walk.lines, walk.doubled)


class _Loader(yaml.SafeLoader):
    """Reads scalars by YAML 1.2's core schema: in 1.1, `22:00` is the number 1320 and `no` is false."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to begin without the inherited ones


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,18})", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]{0,18})?\.[0-9]{1,30}(?:[eE][-+]?[0-9]{1,3})?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def _unquoted(error: yaml.MarkedYAMLError) -> str:
    said = error.problem or "cannot be read"
    if said.startswith("but"):
        said = f"{error.context}, {said}"
    return re.sub(r"'[^<'][^']+'", "(a name)", said)


class _Walk:
    def __init__(self) -> None:
        self.lines: dict[Location, int] = {}
        self.doubled: list[tuple[Location, int]] = []
        self._values = 0

    def value(self, node: yaml.Node, at: Location) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(at) > MAX_DEPTH:
            raise DocumentError(
                "too large or nested too deeply once its aliases are expanded", line=node.start_mark.line + 1
            )
        self.lines.setdefault(at, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*at, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, at)
        raise _unknown_tag(node, at)

    def _mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, Any]:
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise DocumentError("a key must be a word", line=line, at=at)
            if key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif key.value in pairs:
                self.doubled.append(((*at, key.value), line))
            else:
                pairs[key.value] = (key, value)
        found: dict[str, Any] = {}
        for other in reversed(merged):
            inherited = self.value(other, at)
            if not isinstance(inherited, dict):
                raise DocumentError("<< takes a mapping", line=other.start_mark.line + 1, at=at)
            found |= inherited
        for name, (key, value) in pairs.items():
            self.lines[*at, name] = key.start_mark.line + 1
            found[name] = self.value(value, (*at, name))
        return found

    def _scalar(self, node: yaml.ScalarNode, at: Location) -> Any:
        text: str = node.value
        match node.tag.removeprefix(_TAG):
            case "str" | "merge":
                return text
            case "null":
                return None
            case "bool" if text.lower() in {"true", "false"}:
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,19}", text):
                return int(text)
            case "float" if re.fullmatch(r"[-+0-9.eE]{1,60}", text):
                return _float(text)
        raise _unknown_tag(node, at)


def _float(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _unknown_tag(node: yaml.Node, at: Location) -> DocumentError:
    return DocumentError("a tag (!…) that is not known here", line=node.start_mark.line + 1, at=at)
