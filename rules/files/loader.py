"""Rule files in Prometheus's format, read strictly: every problem of every file is reported at once, with its line.

The checks are those of Prometheus 3 (model/rulefmt), which `promtool check rules` runs; and what the engine cannot
evaluate is refused here. Names may be any UTF-8, as in Prometheus 3; in the dialect of 2 they may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from rules.errors import Problem, QueryError, RuleFileError, TemplateError
from rules.files.documents import MAX_BYTES, DocumentError, Node, Scalar, compose
from rules.files.documents import Mapping as MappingNode
from rules.files.fields import FieldReader
from rules.files.lint import lint
from rules.files.names import is_label_name, is_metric_name
from rules.files.scalars import describe, is_null
from rules.model import AlertRule, Group, RecordRule, Rule
from rules.promql import Dialect, Query
from rules.templates import Template

DEFAULT_INTERVAL = 15.0  # seconds
DEFAULT_DIALECT = Dialect()

_GROUP_FIELDS = ("name", "interval", "limit", "query_offset", "labels", "rules")
_RULE_FIELDS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_SHOWN = 200  # characters of an expression in a message


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file as read. With problems it cannot be used, and `groups` are what could be read nevertheless."""

    name: str
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def load_files(
    files: Iterable[Path | Traversable], *, interval: float = DEFAULT_INTERVAL, dialect: Dialect = DEFAULT_DIALECT
) -> list[Group]:
    """The groups of all files, a file named twice once. `interval` (seconds) is for groups without one.

    Raises RuleFileError, with the problems of all of them.
    """
    read = [
        read_file(file, interval=interval, dialect=dialect) for file in {str(file): file for file in files}.values()
    ]
    problems = [problem for file in read for problem in file.problems]
    if problems:
        raise RuleFileError(problems)
    return [group for file in read for group in file.groups]


def read_file(
    file: Path | Traversable, *, interval: float = DEFAULT_INTERVAL, dialect: Dialect = DEFAULT_DIALECT
) -> RuleFile:
    """One file, and what is wrong with it."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        problem = Problem(str(file), 1, f"cannot be read: {error.strerror or error}")
        return RuleFile(str(file), (), (problem,), ())
    return _read(content, str(file), interval, dialect)


def parse_text(
    text: str, file: str, *, interval: float = DEFAULT_INTERVAL, dialect: Dialect = DEFAULT_DIALECT
) -> list[Group]:
    """The groups of one file's text. Raises RuleFileError."""
    read = _read(text.encode("utf-8", "surrogatepass"), file, interval, dialect)
    if read.problems:
        raise RuleFileError(read.problems)
    return list(read.groups)


def _read(content: bytes, file: str, interval: float, dialect: Dialect) -> RuleFile:
    reader = _RuleReader(file, interval, dialect)
    try:
        document = compose(content)
    except DocumentError as error:
        return RuleFile(file, (), (Problem(file, error.line, error.message),), ())
    groups = tuple(reader.groups(document.root))
    problems = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    warnings = lint(groups)
    if document.second_line is not None:
        warnings.append(Problem(file, document.second_line, "only the first YAML document of a file is read"))
    return RuleFile(file, groups, problems, tuple(warnings))


class _RuleReader(FieldReader):
    """Walks the nodes of one file and collects problems instead of stopping at the first."""

    def __init__(self, file: str, interval: float, dialect: Dialect) -> None:
        super().__init__(file)
        self._interval = interval
        self._dialect = dialect
        self._words: dict[str, Template] = {}

    def groups(self, root: Node | None) -> list[Group]:
        fields = self.fields(root, "rule file", ("groups",))
        groups = []
        names: set[str] = set()
        for node in self._set_items(fields.get("groups"), "group"):
            group = self._group(node)
            self.where = ""
            if group is None:
                continue
            if group.name in names:
                self.problem(node, f'groupname: "{group.name}" is repeated in the same file')
            names.add(group.name)
            groups.append(group)
        return groups

    def _set_items(self, node: Node | None, kind: str) -> list[Node]:
        """Prometheus passes over null groups and rules."""
        return [item for item in self.items(node, kind) if not is_null(item)]

    def _group(self, node: Node) -> Group | None:
        if not isinstance(node, MappingNode):
            self.problem(node, f"cannot unmarshal {describe(node)} into a group")
            return None
        fields = self.fields(node, "group", _GROUP_FIELDS)
        name = self.text(fields.get("name"))
        if not name:
            self.problem(node, "Groupname must not be empty")
        self.where = f'group "{name}": '
        interval = self.duration(fields.get("interval"))
        limit = self.whole(fields.get("limit"))
        query_offset = self.duration(fields.get("query_offset"))
        labels = self._labels(fields.get("labels"))
        rules = []
        for place, rule in enumerate(self._set_items(fields.get("rules"), "rule"), 1):
            self.where = f'group "{name}", rule {place}: '
            rules.append(self._rule(rule, f'group "{name}", rule {place}'))
        return Group(
            name=name,
            file=self.file,
            interval=interval or self._interval,
            rules=tuple(rule for rule in rules if rule is not None),
            limit=max(limit, 0),
            query_offset=query_offset,
            labels=tuple((label, text) for label, (text, _) in labels.items()),
        )

    def _rule(self, node: Node, where: str) -> Rule | None:
        if not isinstance(node, MappingNode):
            self.problem(node, f"cannot unmarshal {describe(node)} into a rule")
            return None
        fields = self.fields(node, "rule", _RULE_FIELDS)
        record, alert = self.text(fields.get("record")), self.text(fields.get("alert"))
        self.where = f'{where}, "{alert or record}": '
        if record and alert:
            self.problem(fields["record"], "only one of 'record' and 'alert' must be set")
        elif not record and not alert:
            self.problem(node, "one of 'record' or 'alert' must be set")
        query = self._query(node, fields)
        line = node.line
        if record:
            return self._record(record, query, fields, line)
        return self._alert(alert, query, fields, line)

    def _query(self, rule: Node, fields: Mapping[str, Node]) -> Query | None:
        node = fields.get("expr")
        text = self.text(node)
        if node is None or not text:
            if node is None or is_null(node) or (isinstance(node, Scalar) and not node.text):
                self.problem(node or rule, "field 'expr' must be set in rule")
            return None
        try:
            return Query.compile(text, self._dialect)
        except QueryError as error:
            shown = " ".join(text.split())
            shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
            self.problem(node, f"{error.message}, in {shown}")
            return None

    def _alert(self, name: str, query: Query | None, fields: Mapping[str, Node], line: int) -> AlertRule | None:
        labels = self._templates(name, "label", self._labels(fields.get("labels")))
        annotations = self.texts(fields.get("annotations"))
        for annotation, (_, node) in annotations.items():
            self._check_name(annotation, node, "annotation")
        described = self._templates(name, "annotation", annotations)
        hold, keep_firing = self.duration(fields.get("for")), self.duration(fields.get("keep_firing_for"))
        return AlertRule(name, query, hold, keep_firing, labels, described, line) if name and query else None

    def _record(self, name: str, query: Query | None, fields: Mapping[str, Node], line: int) -> RecordRule | None:
        times = {field: self.duration(fields.get(field)) for field in ("for", "keep_firing_for")}
        forbidden = {**times, "annotations": self.texts(fields.get("annotations"))}
        for field, given in forbidden.items():
            if given:
                self.problem(fields[field], f"invalid field '{field}' in recording rule")
        if "{" in name or "}" in name:
            self.problem(fields["record"], f"braces present in the recording rule name; should it be in expr?: {name}")
        elif not is_metric_name(name, self._dialect):
            self.problem(fields["record"], f"invalid recording rule name: {name}")
        labels = self._labels(fields.get("labels"))
        texts = tuple((label, text) for label, (text, _) in labels.items())
        return RecordRule(name, query, texts, line) if query else None

    def _labels(self, node: Node | None) -> dict[str, tuple[str, Node]]:
        labels = self.texts(node)
        for name, (_, value) in labels.items():
            if name == "__name__":
                self.problem(value, f"invalid label name: {name}")
            else:
                self._check_name(name, value, "label")
        return labels

    def _check_name(self, name: str, at: Node, kind: str) -> None:
        if not is_label_name(name, self._dialect):
            self.problem(at, f"invalid {kind} name: {name}")

    def _templates(self, alert: str, kind: str, texts: dict[str, tuple[str, Node]]) -> tuple[tuple[str, Template], ...]:
        parsed = []
        for name, (text, node) in texts.items():
            try:
                parsed.append((name, self._template(text, alert)))
            except TemplateError as error:
                self.problem(node, f'{kind} "{name}": {error.message}')
        return tuple(parsed)

    def _template(self, text: str, alert: str) -> Template:
        """Most label values are plain words that rules share; only errors name the alert, and those have none."""
        known = self._words.get(text)
        if known is None:
            known = Template.parse(text, f"__alert_{alert}")
            if "{{" not in text:
                self._words[text] = known
        return known
