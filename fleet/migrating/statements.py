"""What `alembic --sql` prints, split into its revisions and these into their statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# strings, quoted names, dollar quotes and comments are one token each: no semicolon in them ends a statement
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]*\n? | /\*.*?\*/ )
    | \b[eE]'(?:[^'\\]|\\.|'')*'
    | '(?:[^']|'')*'
    | "(?:[^"]|"")*"
    | \$(?P<tag>[A-Za-z_]\w*)?\$ .*? \$(?P=tag)\$
    | \$\$ .*? \$\$
    | (?P<end> ; )
    | \w+ | \s+ | .
    """,
    re.VERBOSE | re.DOTALL,
)
# Alembic's `short_log`: several revisions on the left where it is a merge
_MARKER = re.compile(r"^-- Running (?:upgrade|downgrade) (?P<before>.*?) ?-> (?P<after>.*)$")
_BEGINS = re.compile(r"^(begin|start\s+transaction)\b", re.IGNORECASE)
_ENDS = re.compile(r"^(commit|end|rollback)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    """Without comments and its semicolon; `transaction` numbers those of one revision, None is outside of any."""

    text: str
    transaction: int | None

    @property
    def short(self) -> str:
        """In one line, for people."""
        line = " ".join(self.text.split())
        return line if len(line) <= 160 else f"{line[:157]}..."


@dataclass(slots=True)
class Section:
    """The statements of one revision, without those on Alembic's own table; the ids are those around the arrow."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    statements: list[Statement] = field(default_factory=list)

    @property
    def script(self) -> str:
        """As a script of its own, with the transactions that Alembic runs it in; each statement begins a line."""
        lines: list[str] = []
        inside: int | None = None
        for one in self.statements:
            if one.transaction != inside:
                lines += ["COMMIT;"] if inside is not None else []
                lines += ["BEGIN;"] if one.transaction is not None else []
                inside = one.transaction
            lines.append(f"{one.text};")
        return "\n".join([*lines, *(["COMMIT;"] if inside is not None else []), ""])


def sections(printed: str, version_table: str) -> list[Section]:
    """The revisions of a print, in its order. What is said before the first one is Alembic's own."""
    found: list[Section] = []
    own = re.compile(rf"(?<![\w$]){re.escape(version_table.rpartition('.')[2])}(?![\w$])")
    transaction, inside = 0, False
    for kind, text in _split(printed):
        if kind == "marker":
            match = _MARKER.match(text)
            if match is not None:
                found.append(Section(_ids(match["before"]), _ids(match["after"])))
        elif _BEGINS.match(text):
            transaction, inside = transaction + 1, True
        elif _ENDS.match(text):
            inside = False
        elif found and not own.search(text):
            found[-1].statements.append(Statement(text, transaction if inside else None))
    return found


def _split(printed: str) -> Iterator[tuple[str, str]]:
    """Statements, and the comments that tell of a revision."""
    parts: list[str] = []
    for match in _TOKEN.finditer(printed):
        if match["comment"] is not None:
            if _MARKER.match(match["comment"].strip()):
                yield "marker", match["comment"].strip()
            parts.append(" ")
        elif match["end"] is not None:
            if text := "".join(parts).strip():
                yield "statement", text
            parts.clear()
        else:
            parts.append(match[0])
    if text := "".join(parts).strip():
        yield "statement", text


def _ids(listed: str) -> tuple[str, ...]:
    return tuple(id_.strip() for id_ in listed.split(",") if id_.strip())
