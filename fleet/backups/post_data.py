"""pg_dump's SQL in its entries: a key, an index, a trigger each, so that they can be run apart.

An entry begins with a comment, `-- Name: ...; Type: ...; Schema: ...; Owner: ...`. Texts in quotes may hold the same,
so the SQL is read token by token. What pg_dump sets between two entries holds for all that follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

_HEADER = re.compile(
    r"^--\n-- (?:Data for )?Name: (?P<name>[^\n]*); Type: (?P<type>[^;\n]*); Schema: (?P<schema>[^\n]*?);"
    r" Owner: [^\n]*\n--\n",
    re.MULTILINE,
)
_SET = re.compile(r"^SET [a-z_]+ = [^\n]*;$", re.MULTILINE)
_SETS_ONLY = re.compile(r"^(?:SET [a-z_]+ = |SELECT pg_catalog\.set_config\()[^\n]*;$", re.MULTILINE)
_VECTOR = re.compile(r"\bUSING (?:hnsw|ivfflat) \(")
_NAMED = re.compile(r"^CREATE (?:UNIQUE )?INDEX ")
_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
    | (?P<comment>--[^\n]*\n?)
    | (?P<block>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\U0010ffff][\w]*)?\$)
    | (?P<word>[\w$]+)
    | (?P<unclosed>['"])
    | (?P<end>;)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Phase(IntEnum):
    """When an entry is run: what is of one phase depends on nothing else in it, but for the last."""

    INDEX = 0
    ATTACH = 1
    FOREIGN_KEY = 2
    REST = 3  # in the order of the file
    VECTOR_INDEX = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """`kind` is pg_dump's type (INDEX, FK CONSTRAINT, ...); `settings` are to be set before `sql` is run."""

    name: str
    kind: str
    schema: str
    sql: str
    settings: tuple[str, ...] = ()

    @property
    def is_vector_index(self) -> bool:
        return self.kind == "INDEX" and _VECTOR.search(self.sql) is not None

    @property
    def key(self) -> str:
        """What the entry is called in a list of those that are done."""
        return f"{self.kind} {self.schema} {self.name}"

    @property
    def label(self) -> str:
        return f"{self.kind.lower()} {self.name}"

    def concurrently(self) -> str | None:
        """The same index, built while others may write; None where there is no such way, or more than one statement."""
        changed, count = _NAMED.subn(lambda match: match[0] + "CONCURRENTLY ", self.sql.lstrip(), count=1)
        return changed if count and " ON ONLY " not in changed and len(statements(self.sql)) == 1 else None


@dataclass(frozen=True, slots=True)
class Script:
    """`preamble` is run first in each session."""

    preamble: str
    entries: tuple[Entry, ...]


class SplitError(ValueError):
    """The text is not what pg_dump writes; it may still be good SQL as a whole."""


def parse(text: str) -> Script:
    """Split the SQL of a section without rows (pre-data, post-data). Raises SplitError."""
    ends, comments = _read(text)
    heads = [match for match in _HEADER.finditer(text) if match.start() in comments]
    if not heads:
        if _without_comments(_SETS_ONLY.sub("", text)):
            raise SplitError("there is no entry in it")
        return Script(text, ())
    entries: list[Entry] = []
    settings: dict[str, str] = {}
    borders = [*(head.start() for head in heads), len(text)]
    for head, end in zip(heads, borders[1:], strict=True):
        last = max((at for at in ends if head.end() < at <= end), default=head.end())
        if _without_comments(text[last:end]):
            raise SplitError(f"the entry {head['name']!r} does not end with its statement")
        sql, after = _cut_settings(text[head.end() : last])
        entries.append(Entry(head["name"], head["type"], head["schema"], sql, tuple(settings.values())))
        settings |= after
    return Script(text[: borders[0]], tuple(entries))


def statements(sql: str) -> list[str]:
    """The statements in it, comments left where they are. Raises SplitError where a text is not closed."""
    ends, _ = _read(sql)
    borders = [0, *ends]
    return [sql[start:end].strip() for start, end in pairwise(borders)]


def _cut_settings(body: str) -> tuple[str, dict[str, str]]:
    """What stands after the last statement of an entry, and only sets something, is for the next ones."""
    after: dict[str, str] = {}
    sql = body.rstrip()
    while True:
        line = sql.rpartition("\n")[2]
        before = sql[: len(sql) - len(line)].rstrip()
        if not _SET.fullmatch(line) or (before and not before.endswith(";")):
            return sql, dict(reversed(after.items()))
        after.setdefault(line.split()[1], line)
        sql = before


def _without_comments(sql: str) -> str:
    return "".join(match[0] for match in _tokens(sql) if match.lastgroup not in {"comment", "space"})


def _read(text: str) -> tuple[list[int], frozenset[int]]:
    """Where statements end, and where comments at the top level begin. Raises SplitError."""
    ends: list[int] = []
    comments: set[int] = set()
    depth = 0
    for match in _tokens(text):
        match match.lastgroup:
            case "comment":
                comments.add(match.start())
            case "end" if depth == 0:  # a rule may hold several statements in parentheses
                ends.append(match.end())
            case "other":
                depth += {"(": 1, ")": -1}.get(match[0], 0)
    if depth != 0:
        raise SplitError("a parenthesis is not closed")
    return ends, frozenset(comments)


def _tokens(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        match match.lastgroup:
            case "dollar":
                at = _after(text, text.find(match[0], at), len(match[0]))
            case "block":
                at = _end_of_block(text, at)
            case "unclosed":
                raise SplitError("a quoted text is not closed")
        yield match


def _after(text: str, found: int, length: int) -> int:
    if found < 0:
        raise SplitError(f"a quoted text of {len(text)} characters is not closed")
    return found + length


def _end_of_block(text: str, at: int) -> int:
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if match[0] == "/*" else -1
        if depth == 0:
            return match.end()
    raise SplitError("a comment is not closed")


_PHASES = {
    "INDEX": Phase.INDEX,
    "CONSTRAINT": Phase.INDEX,
    "INDEX ATTACH": Phase.ATTACH,
    "FK CONSTRAINT": Phase.FOREIGN_KEY,
}


def by_phase(entries: Sequence[Entry]) -> dict[Phase, list[Entry]]:
    """The entries of each phase, in order. What is said of a vector index comes after it."""
    vectors = {(entry.schema, entry.name) for entry in entries if entry.is_vector_index}
    found: dict[Phase, list[Entry]] = {phase: [] for phase in Phase}
    for entry in entries:
        name = entry.name.removeprefix("INDEX ") if entry.kind == "COMMENT" else entry.name
        late = entry.kind in {"INDEX", "INDEX ATTACH", "COMMENT"} and (entry.schema, name) in vectors
        found[Phase.VECTOR_INDEX if late else _PHASES.get(entry.kind, Phase.REST)].append(entry)
    return found
