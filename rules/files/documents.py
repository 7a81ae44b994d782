"""YAML as Prometheus reads it: nodes that know their lines.

Prometheus parses with Go's yaml package, which is a translation of libyaml; so libyaml is the parser here too. Only the
first document of a file counts. Nothing is built from tags, aliases share their node, and what would grow beyond bounds
when aliases are followed is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import yaml

MAX_BYTES = 16 * 1024 * 1024
_DEEPEST = 100
_MOST_ALIASED = 100_000  # nodes that aliases may add, or ten times those written out

_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True, eq=False)
class Scalar:
    """`tag` is None where the file has none; `plain` is True without quotes."""

    line: int
    text: str
    tag: str | None = None
    plain: bool = True


@dataclass(slots=True, eq=False)
class Sequence:
    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping:
    line: int
    pairs: list[tuple[Node, Node]] = field(default_factory=list)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """The first document of a file. `second_line` is where another one begins, which nobody reads."""

    root: Node | None
    second_line: int | None


class DocumentError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def compose(content: bytes) -> Document:
    """The nodes of a file's first document. Raises DocumentError."""
    if len(content) > MAX_BYTES:
        raise DocumentError(1, f"is larger than {MAX_BYTES // 1024 // 1024} MiB")
    loader = _LOADER(content)
    try:
        composer = _Composer(loader)
        root = composer.document()
        return Document(root, composer.next_document())
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position) + 1
        raise DocumentError(line, f"is not YAML: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        where = f", {error.context}" if error.context else ""
        began = f" that begins in line {error.context_mark.line + 1}" if where and error.context_mark else ""
        raise DocumentError(line, f"is not YAML: {error.problem}{where}{began}") from error
    finally:
        loader.dispose()


@dataclass(slots=True)
class _Open:
    """A collection that is being read; `before` is how many nodes had been read when it began."""

    node: Sequence | Mapping
    anchor: str | None
    before: int
    children: list[Node] = field(default_factory=list)


class _Composer:
    """Builds nodes from the parser's events, without recursion."""

    def __init__(self, loader: yaml.SafeLoader | yaml.CSafeLoader) -> None:
        self._loader = loader
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int] | None] = {}  # node and size, None while it is being read
        self._read = 0  # nodes, with those behind aliases
        self._written = 0

    def _next(self) -> yaml.Event:
        return cast("yaml.Event", self._loader.get_event())

    def document(self) -> Node | None:
        """The first document's root."""
        self._next()  # the start of the stream
        start = self._next()
        if not isinstance(start, yaml.DocumentStartEvent):
            return None
        if start.version not in (None, (1, 1)):
            raise DocumentError(_line(start), "is not YAML 1.1, which Prometheus reads")
        root: Node | None = None
        while not isinstance(event := self._next(), yaml.DocumentEndEvent):
            node = self._node(event)
            if node is None:
                continue
            if self._stack:
                self._stack[-1].children.append(node)
            else:
                root = node
        return root

    def next_document(self) -> int | None:
        """The line where another document with something in it begins."""
        try:
            event = self._next()
            if isinstance(event, yaml.DocumentStartEvent):
                first = self._next()
                empty = isinstance(first, yaml.ScalarEvent) and not first.value
                return None if empty else _line(event)
        except yaml.MarkedYAMLError as error:
            return int(error.problem_mark.line) + 1 if error.problem_mark else None
        except yaml.YAMLError:
            return None
        return None

    def _node(self, event: yaml.Event) -> Node | None:
        """The node that is complete with this event."""
        if isinstance(event, yaml.ScalarEvent):
            self._read += 1
            self._written += 1
            scalar = Scalar(_line(event), event.value, event.tag, event.implicit[0])
            if event.anchor:
                self._anchors[event.anchor] = (scalar, 1)
            return scalar
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._open(event)
            return None
        return self._close()

    def _open(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        line = _line(event)
        if len(self._stack) == _DEEPEST:
            raise DocumentError(line, f"is nested more than {_DEEPEST} levels deep")
        node = Sequence(line) if isinstance(event, yaml.SequenceStartEvent) else Mapping(line)
        self._stack.append(_Open(node, event.anchor, self._read))
        self._read += 1
        self._written += 1
        if event.anchor:
            self._anchors[event.anchor] = None

    def _close(self) -> Node:
        done = self._stack.pop()
        if isinstance(done.node, Sequence):
            done.node.items = done.children
        else:
            done.node.pairs = list(zip(done.children[::2], done.children[1::2], strict=True))
        if done.anchor:
            self._anchors[done.anchor] = (done.node, self._read - done.before)
        return done.node

    def _alias(self, event: yaml.AliasEvent) -> Node:
        line = _line(event)
        if event.anchor not in self._anchors:
            raise DocumentError(line, f"unknown anchor '{event.anchor}' referenced")
        anchored = self._anchors[event.anchor]
        if anchored is None:
            raise DocumentError(line, f"anchor '{event.anchor}' value contains itself")
        node, size = anchored
        self._read += size
        if self._read - self._written > max(_MOST_ALIASED, 10 * self._written):
            raise DocumentError(line, "contains excessive aliasing")
        return node


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
