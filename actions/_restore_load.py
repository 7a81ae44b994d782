"""Definitions and rows of a snapshot into a new database: what is small by psql, large tables by parallel COPY."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from actions._action import Figures
from actions._restore_place import Place, note, note_sql
from actions._restore_psql import feed
from actions._restore_source import Source
from actions._together import together
from fleet.backups import Blob, TableCopy
from fleet.backups.data_text import DataText, TableName
from fleet.backups.index import BINARY_HEADER, BINARY_TRAILER
from fleet.backups.reader import Part, read_index, read_rows, read_text, split
from fleet.errors import ActionError

_QUICK = {"synchronous_commit": "off", "statement_timeout": "0", "lock_timeout": "0"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a snapshot is restored; `tables` None is all. `workers` load or build at once."""

    tables: frozenset[TableName] | None = None
    schema_only: bool = False
    workers: int = 2

    def takes(self, schema_name: str, name: str) -> bool:
        return not self.schema_only and (self.tables is None or (schema_name, name) in self.tables)

    def copies(self, source: Source) -> list[TableCopy]:
        return [copy for copy in source.snapshot.copies if self.takes(copy.schema_name, copy.name)]


async def load(place: Place, source: Source, wanted: Wanted) -> Figures:
    """Load what is not loaded yet; the database is there. Returns rows and bytes of the large tables.

    Raises:
        ActionError, asyncpg.PostgresError: the server does not take it.
        StoreError: an object is missing or damaged; of its part of the table nothing is kept.
    """
    done = await place.done()
    copies = wanted.copies(source)
    figures = {"rows": sum(copy.rows for copy in copies), "bytes": sum(copy.plain_bytes for copy in copies)}
    if done is None:
        return figures
    if "definitions" not in done:
        definitions = _noted(read_text(source.pool, source.snapshot.pre_data), "definitions")
        await feed(place, definitions, settings=_QUICK)
    works = [_Loader(place, source, wanted, done).load(copies)]
    if not wanted.schema_only and "rows" not in done:
        works.append(_feed_rows(place, source.snapshot.data, source, wanted))
    await together(*works)
    await place.make_durable()
    return figures


async def _feed_rows(place: Place, blob: Blob, source: Source, wanted: Wanted) -> None:
    text = read_text(source.pool, blob)
    chosen = DataText(wanted.tables).read(text) if wanted.tables is not None else text
    await feed(place, _noted(chosen, "rows"), settings=_QUICK)


async def _noted(sql: AsyncGenerator[bytes, None], what: str) -> AsyncGenerator[bytes, None]:
    """The SQL, and that it was run."""
    async with aclosing(sql):
        async for part in sql:
            yield part
    yield note_sql(what)


@dataclass(frozen=True, slots=True)
class _Task:
    copy: TableCopy
    columns: list[str]
    format: Literal["binary", "text"]
    part: Part
    what: str


class _Loader:
    """All large tables, in parts: each is a COPY and a transaction of its own, noted with it."""

    def __init__(self, place: Place, source: Source, wanted: Wanted, done: frozenset[str]) -> None:
        self._place, self._source, self._wanted, self._done = place, source, wanted, done
        self._copies: list[TableCopy] = []
        self._tasks: list[_Task] = []
        self._reading = asyncio.Lock()
        self._loaded = self._total = 0

    async def load(self, copies: list[TableCopy]) -> None:
        self._copies = sorted(copies, key=lambda copy: copy.plain_bytes)  # taken from the end: the largest first
        self._total = sum(copy.plain_bytes for copy in copies)
        await together(*(self._work() for _ in range(self._wanted.workers)))

    async def _work(self) -> None:
        while (task := await self._next()) is not None:
            async with self._place.session() as connection, connection.transaction():
                async with aclosing(self._stream(task)) as stream:
                    said = await connection.copy_to_table(
                        task.copy.name,
                        schema_name=task.copy.schema_name,
                        columns=task.columns,
                        format=task.format,
                        source=stream,
                    )
                if said != f"COPY {task.part.rows}":
                    raise ActionError(f"{task.what}: the server said {said!r} of {task.part.rows} rows")
                await note(connection, task.what)

    async def _next(self) -> _Task | None:
        async with self._reading:
            while not self._tasks and self._copies:
                self._tasks += await self._parts(self._copies.pop())
        return self._tasks.pop() if self._tasks else None

    async def _parts(self, copy: TableCopy) -> list[_Task]:
        """What is to be done of a table: its index is read once somebody has nothing else to do."""
        index = await read_index(self._source.pool, copy)
        tasks = []
        for number, part in enumerate(await asyncio.to_thread(split, index), 1):
            what = f"copy {copy.schema_name}.{copy.name} {number}"
            if what in self._done:
                self._loaded += part.plain_bytes
            else:
                tasks.append(_Task(copy, list(index.columns), index.format, part, what))
        return tasks

    async def _stream(self, task: _Task) -> AsyncGenerator[bytes, None]:
        binary = task.format == "binary"
        if binary:
            yield BINARY_HEADER
        async with aclosing(read_rows(self._source.pool, task.part)) as rows:
            async for batch in rows:
                yield batch
                self._loaded += len(batch)
                self._place.job.progress(
                    self._loaded / self._total, f"loading {task.copy.schema_name}.{task.copy.name}"
                )
        if binary:
            yield BINARY_TRAILER
