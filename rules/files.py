"""Rule files in Prometheus's format, read strictly: every problem of every file is reported at once, with its line.

The checks are those of `promtool check rules` (model/rulefmt), and one more: what the engine cannot evaluate is refused
here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

import yaml

from rules.durations import parse_duration
from rules.errors import Problem, QueryError, RuleFileError, TemplateError
from rules.model import AlertRule, Group, RecordRule, Rule
from rules.promql import Query
from rules.templates import Template

DEFAULT_INTERVAL = 15.0  # seconds

_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_GROUP_FIELDS = frozenset({"name", "interval", "limit", "query_offset", "labels", "rules"})
_RULE_FIELDS = frozenset({"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"})
_ALERT_ONLY = ("for", "keep_firing_for", "annotations")

T = TypeVar("T")
Fields = Mapping[str, yaml.Node]


def load_files(files: Iterable[Path | Traversable], *, interval: float = DEFAULT_INTERVAL) -> list[Group]:
    """The groups of all files. `interval` (seconds) is for groups without one. Raises RuleFileError."""
    groups: list[Group] = []
    problems: list[Problem] = []
    for file in files:
        try:
            groups += parse_text(file.read_text(encoding="utf-8"), str(file), interval=interval)
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(file), 1, f"cannot be read: {error}"))
        except RuleFileError as error:
            problems += error.problems
    if problems:
        raise RuleFileError(problems)
    return groups


def parse_text(text: str, file: str, *, interval: float = DEFAULT_INTERVAL) -> list[Group]:
    """The groups of one file's text. Raises RuleFileError."""
    reader = _Reader(file, interval)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or str(error)
        raise RuleFileError([Problem(file, mark.line + 1 if mark else 1, f"is not YAML: {message}")]) from error
    groups = reader.groups(root) if root is not None else []
    if reader.problems:
        raise RuleFileError(reader.problems)
    return groups


class _Reader:
    """Walks the YAML nodes, which know their lines, and collects problems instead of stopping at the first."""

    def __init__(self, file: str, interval: float) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._interval = interval
        self._where = ""

    def _problem(self, node: yaml.Node, message: str) -> None:
        text = f"{self._where}{message}"
        self.problems.append(Problem(self._file, node.start_mark.line + 1, text))

    def _fields(self, node: yaml.Node, known: frozenset[str] | None) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._problem(node, "must be a mapping of keys and values")
            return {}
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in fields:
                self._problem(key, f"mapping key {name!r} already defined")
            elif known is not None and name not in known:
                self._problem(key, f"field {name!r} not found; known are {', '.join(sorted(known))}")
            fields[name] = value
        return fields

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None or _is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._problem(node, "must be a list")
            return []
        return list(node.value)

    def _text(self, node: yaml.Node | None) -> str:
        if node is None or _is_null(node):
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self._problem(node, "must be a text")
            return ""
        return str(node.value)

    def _parsed(self, node: yaml.Node | None, parse: Callable[[str], T], default: T) -> T:
        text = self._text(node)
        if node is None or not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self._problem(node, str(error))
        except TemplateError as error:
            self._problem(node, f"template {text!r}: {error.message}")
        except QueryError as error:
            self._problem(node, f"{error.message}, in expr {text.strip()!r}")
        return default

    def groups(self, root: yaml.Node) -> list[Group]:
        fields = self._fields(root, frozenset({"groups"}))
        groups = []
        names: set[str] = set()
        for node in self._items(fields.get("groups")):
            group = self._group(node)
            self._where = ""
            if group.name in names:
                self._problem(node, f"groupname: {group.name!r} is repeated in the same file")
            names.add(group.name)
            groups.append(group)
        return groups

    def _group(self, node: yaml.Node) -> Group:
        fields = self._fields(node, _GROUP_FIELDS)
        name = self._text(fields.get("name"))
        if not name:
            self._problem(node, "Groupname must not be empty")
        self._where = f"group {name!r}: "
        rules = [self._rule(rule, name) for rule in self._items(fields.get("rules"))]
        self._where = f"group {name!r}: "
        return Group(
            name=name,
            file=self._file,
            interval=self._parsed(fields.get("interval"), parse_duration, 0.0) or self._interval,
            rules=tuple(rule for rule in rules if rule is not None),
            limit=self._parsed(fields.get("limit"), int, 0),
            query_offset=self._parsed(fields.get("query_offset"), parse_duration, 0.0),
            labels=self._pairs(fields.get("labels"), str, ""),
        )

    def _rule(self, node: yaml.Node, group: str) -> Rule | None:
        self._where = f"group {group!r}: "
        fields = self._fields(node, _RULE_FIELDS)
        record, alert = self._text(fields.get("record")), self._text(fields.get("alert"))
        self._where = f"group {group!r}, rule {record or alert!r}: " if record or alert else self._where
        if bool(record) == bool(alert):
            self._problem(
                node,
                "only one of 'record' and 'alert' must be set" if record else "one of 'record' or 'alert' must be set",
            )
            return None
        query = self._query(node, fields)
        return self._alert(node, alert, query, fields) if alert else self._record(node, record, query, fields)

    def _query(self, node: yaml.Node, fields: Fields) -> Query | None:
        if not self._text(fields.get("expr")):
            self._problem(fields.get("expr", node), "field 'expr' must be set in rule")
        return self._parsed(fields.get("expr"), Query.compile, None)

    def _alert(self, node: yaml.Node, name: str, query: Query | None, fields: Fields) -> AlertRule | None:
        nothing = Template.parse("")
        labels = self._pairs(fields.get("labels"), Template.parse, nothing)
        annotations = self._pairs(fields.get("annotations"), Template.parse, nothing)
        hold = self._parsed(fields.get("for"), parse_duration, 0.0)
        keep_firing = self._parsed(fields.get("keep_firing_for"), parse_duration, 0.0)
        if query is None:
            return None
        return AlertRule(name, query, hold, keep_firing, labels, annotations, node.start_mark.line + 1)

    def _record(self, node: yaml.Node, name: str, query: Query | None, fields: Fields) -> RecordRule | None:
        for field in _ALERT_ONLY:
            if field in fields and not _is_null(fields[field]):
                self._problem(fields[field], f"invalid field {field!r} in recording rule")
        if not _METRIC_NAME.fullmatch(name):
            self._problem(fields["record"], f"invalid recording rule name: {name!r}")
        labels = self._pairs(fields.get("labels"), str, "")
        if query is None:
            return None
        return RecordRule(name, query, labels, node.start_mark.line + 1)

    def _pairs(self, node: yaml.Node | None, parse: Callable[[str], T], default: T) -> tuple[tuple[str, T], ...]:
        if node is None or _is_null(node):
            return ()
        pairs = []
        for name, value in self._fields(node, None).items():
            if not _LABEL_NAME.fullmatch(name) or name == "__name__":
                self._problem(value, f"invalid label name: {name!r}")
            pairs.append((name, self._parsed(value, parse, default)))
        return tuple(pairs)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
