"""Rows from one snapshot of the source into the new database, masked on the way: no row is written anywhere else.

A thread reads and masks what the server sends, while what it made before is on its way to the new database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Literal

import asyncpg

from actions._restore_place import Place
from actions._together import together
from fleet.backups.bulk import Bulk
from fleet.backups.index import BINARY_HEADER, BINARY_TRAILER
from fleet.data.masks import Masker, Selection
from fleet.data.tables import Table
from fleet.errors import ActionError, CustodeError

_BATCH_BYTES = 1 << 20
# what the server says of these quotes a row
QUOTING = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.PLPGSQLError)
# what is text is written and read alike
_ALIKE = ("set client_encoding = 'UTF8'", "set lc_monetary = 'C'")


class RowCopy:
    """`rows` are those copied so far, by the table's name as it is shown."""

    def __init__(
        self, place: Place, masker: Masker, readers: Sequence[Bulk], tell: Callable[[float, str], None]
    ) -> None:
        self.rows: dict[str, int] = {}
        self._place, self._masker, self._readers, self._tell = place, masker, readers, tell
        self._left: list[Selection] = []
        self._total = 1

    async def copy(self, tables: Sequence[Table]) -> None:
        """Copy what is not emptied; each table by one reader, the largest first.

        Raises:
            ActionError: not all of it is decided on, a mask fails, or the new database does not take a row.
        """
        chosen = [found for table in tables if (found := self._masker.select(table)) is not None and found.columns]
        self._left = sorted(chosen, key=lambda one: one.table.rows)  # taken from the end
        self._total = sum(one.table.rows for one in chosen) or 1
        await together(*(self._work(reader) for reader in self._readers))

    async def _work(self, reader: Bulk) -> None:
        await asyncio.to_thread(reader.execute, "; ".join(_ALIKE))
        while self._left:
            selection = self._left.pop()
            self.rows[selection.table.shown] = 0
            await self._copy(reader, selection)

    async def _copy(self, reader: Bulk, selection: Selection) -> None:
        table = selection.table
        async with self._place.session(_ALIKE) as connection, connection.transaction():
            try:
                async with aclosing(self._stream(reader, selection)) as stream:
                    said = await connection.copy_to_table(
                        table.name,
                        schema_name=table.schema_name,
                        columns=[column.name for column, _ in selection.columns],
                        format=_format(selection),
                        source=stream,
                    )
            except QUOTING as error:
                raise ActionError(f"{table.shown} does not take a masked row: {without_rows(error)}") from None
        if said != f"COPY {self.rows[table.shown]}":
            raise ActionError(f"{table.shown}: the server said {said!r} of {self.rows[table.shown]} rows")

    async def _stream(self, reader: Bulk, selection: Selection) -> AsyncGenerator[bytes, None]:
        binary = _format(selection) == "binary"
        if binary:
            yield BINARY_HEADER
        async with aclosing(_ahead(reader, self._batches(reader, selection))) as batches:
            async for batch in batches:
                yield batch
                self._tell(min(1.0, sum(self.rows.values()) / self._total), f"copying {selection.table.shown}")
        if binary:
            yield BINARY_TRAILER

    def _batches(self, reader: Bulk, selection: Selection) -> Iterator[bytes]:
        """In a thread. What masks say when they fail may quote what they were given."""
        table = selection.table
        try:
            rows = self._masker.mask_rows(table, reader.copy_out(selection.query, _format(selection)))
            batch: list[bytes | memoryview] = []
            size = 0
            for row in rows:
                batch.append(row)
                size += len(row)
                if size >= _BATCH_BYTES:
                    self.rows[table.shown] += len(batch)
                    yield b"".join(batch)
                    batch, size = [], 0
            self.rows[table.shown] += len(batch)
            if batch:
                yield b"".join(batch)
        except CustodeError:
            raise
        except Exception as error:  # noqa: BLE001 - of a mask: whatever it raises, its words stay here
            raise ActionError(f"{table.shown}: a mask fails on a row ({type(error).__name__})") from None


async def _ahead(reader: Bulk, batches: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Each batch, with the next one under way; a thread never outlives this."""
    coming = _next(batches)
    try:
        while batch := await asyncio.shield(coming):
            coming = _next(batches)
            yield batch
    finally:
        if not coming.done():
            reader.interrupt()
        await _ended(coming)


def _next(batches: Iterator[bytes]) -> asyncio.Future[bytes]:
    return asyncio.ensure_future(asyncio.to_thread(next, batches, b""))


async def _ended(thread: asyncio.Future[bytes]) -> None:
    """Wait for it, whatever is asked of us meanwhile: whoever waits for us is told by the error that is under way."""
    while not thread.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({thread})
    if not thread.cancelled():
        thread.exception()


def _format(selection: Selection) -> Literal["binary", "text"]:
    """Binary arrays, and types that nobody knows, name types by numbers that mean others in another database."""
    portable = all(column.family is not None and not column.array for column, _ in selection.columns)
    return selection.format if portable else "text"


def without_rows(error: asyncpg.PostgresError) -> str:
    """An error in words that quote no row."""
    names = ("schema", "table", "column", "constraint")
    places = [f"{name} {place}" for name in names if (place := getattr(error, f"{name}_name", None))]
    return ", ".join([type(error).__name__.removesuffix("Error"), *places])
