"""The rows of small tables within pg_dump's SQL: which are wanted, and what they sum up to."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass, field

from fleet.backups.multiset import RowSum

_NAME = r'(?:"(?:[^"]|"")*"|[^\s".(]+)'
_COPY = re.compile(
    rf"COPY (?P<quoted>(?P<schema>{_NAME})\.(?P<name>{_NAME}))\s+(?:\((?P<columns>.*)\) )?FROM stdin;", re.DOTALL
)
_END = b"\\.\n"

TableName = tuple[str, str]  # schema and name


@dataclass(slots=True)
class TextTable:
    """Rows of a table as they stand in the SQL; `query` gives the same ones, None for a table without columns."""

    schema_name: str
    name: str
    query: str | None
    sum: RowSum = field(default_factory=lambda: RowSum("text"))


class DataText:
    """Reads the SQL on its way; `tables` are those that were kept, complete once the text is."""

    def __init__(self, wanted: Collection[TableName] | None = None) -> None:
        self.tables: list[TextTable] = []
        self._wanted = wanted
        self._rest = b""
        self._statement = b""
        self._table: TextTable | None = None
        self._skips = False

    async def read(self, parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The SQL with the rows of the wanted tables alone (None: all)."""
        async for part in parts:
            yield self._take(part)
        if rest := self._statement + self._rest:
            yield rest

    def _take(self, part: bytes) -> bytes:
        """What is kept of the whole lines so far."""
        lines = _lines(self._rest + part)
        self._rest = b"" if not lines or lines[-1].endswith(b"\n") else lines.pop()
        return b"".join(map(self._kept, lines))

    def _kept(self, line: bytes) -> bytes:
        if self._table is not None:
            skips = self._skips
            if line == _END:
                self._table = None
            elif not skips:
                self._table.sum.take(line)
            return b"" if skips else line
        if self._statement or line.startswith(b"COPY "):
            return self._begin(line)
        return line

    def _begin(self, line: bytes) -> bytes:
        """A statement whose names hold line breaks stands on several lines: it is given once it is whole."""
        self._statement += line
        match = _COPY.fullmatch(self._statement.decode(errors="surrogateescape").rstrip("\n"))
        if match is None:
            return b""
        statement, self._statement = self._statement, b""
        columns = match["columns"]
        query = f"select {columns} from only {match['quoted']}" if columns else None  # noqa: S608
        self._table = TextTable(_plain(match["schema"]), _plain(match["name"]), query)
        self._skips = self._wanted is not None and (self._table.schema_name, self._table.name) not in self._wanted
        if not self._skips:
            self.tables.append(self._table)
        return b"" if self._skips else statement


def _lines(text: bytes) -> list[bytes]:
    """Only a line feed ends a line."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
