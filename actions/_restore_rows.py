"""The rows of a restored database, read again and compared with those of the snapshot, in whatever order they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from actions._restore_load import Wanted
from actions._restore_place import Place
from actions._restore_source import Source
from actions._together import together
from fleet.backups import TableCopy
from fleet.backups.data_text import DataText
from fleet.backups.index import TableIndex
from fleet.backups.multiset import Format, RowSum, StreamSum
from fleet.backups.reader import read_index, read_rows, read_text, split
from fleet.connections import Connection

_BATCH_BYTES = 1 << 20
_QUERY = """
    select format('select %s from only %I.%I', string_agg(format('%I', name), ', ' order by number), $2::text, $3::text)
    from unnest($1::text[]) with ordinality as columns(name, number)
"""
# as the snapshot was written, so that what is text is written alike
_READING = """
    set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set row_security = off;
    set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set extra_float_digits = 3;
    set bytea_output = 'hex'; set timezone = 'UTC'; set search_path = ''
"""


class RowComparison:
    """`rows` of `tables` tables were compared."""

    def __init__(self, place: Place, source: Source, wanted: Wanted) -> None:
        self.rows = self.tables = 0
        self._place, self._source, self._wanted = place, source, wanted
        self._problems: list[str] = []
        self._read, self._total = 0, sum(copy.plain_bytes for copy in wanted.copies(source)) or 1

    async def run(self) -> list[str]:
        """What differs. Raises StoreError, asyncpg.PostgresError: it could not be read."""
        for copy in self._wanted.copies(self._source):
            await self._compare_copy(copy)
        await self._compare_small()
        return self._problems

    async def _compare_copy(self, copy: TableCopy) -> None:
        index = await read_index(self._source.pool, copy)
        stored, found = RowSum(index.format), StreamSum(index.format)
        await together(self._sum_stored(copy, index, stored), self._sum_copied(copy, index, found))
        self._judge(f"{copy.schema_name}.{copy.name}", stored, found)

    async def _sum_stored(self, copy: TableCopy, index: TableIndex, stored: RowSum) -> None:
        for part in split(index):
            async with aclosing(read_rows(self._source.pool, part)) as rows:
                async for batch in rows:
                    await asyncio.to_thread(stored.take, batch)
                    self._read += len(batch)
                    self._place.job.progress(self._read / self._total, f"comparing {copy.schema_name}.{copy.name}")

    async def _sum_copied(self, copy: TableCopy, index: TableIndex, found: StreamSum) -> None:
        async with self._reader() as connection:
            query = await connection.fetchval(_QUERY, list(index.columns), copy.schema_name, copy.name)
            await _sum_query(connection, query, index.format, found)

    async def _compare_small(self) -> None:
        """The tables whose rows are in pg_dump's SQL."""
        text = DataText(self._wanted.tables)
        async with aclosing(text.read(read_text(self._source.pool, self._source.snapshot.data))) as parts:
            async for _ in parts:
                await asyncio.sleep(0)
        async with self._reader() as connection:
            for table in text.tables:
                found = StreamSum("text")
                if table.query is not None:
                    await _sum_query(connection, table.query, "text", found)
                    self._judge(f"{table.schema_name}.{table.name}", table.sum, found)

    def _judge(self, name: str, stored: RowSum, found: RowSum) -> None:
        self.tables += 1
        self.rows += found.rows
        if found.rows != stored.rows:
            self._problems.append(f"{name} has {found.rows} rows, the backup {stored.rows}")
        elif found.total != stored.total:
            self._problems.append(f"{name} has the {found.rows} rows of the backup, but not all with the same content")

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Connection]:
        async with self._place.job.connections.acquire(self._place.database) as connection:
            await connection.execute(_READING)
            try:
                yield connection
            finally:
                if not connection.is_closed():
                    await connection.execute("reset all")


async def _sum_query(connection: Connection, query: str, format_: Format, found: StreamSum) -> None:
    batch = bytearray()

    async def take(part: bytes) -> None:
        nonlocal batch
        batch += part
        if len(batch) >= _BATCH_BYTES:
            whole, batch = bytes(batch), bytearray()
            await asyncio.to_thread(found.take, whole)

    await connection.copy_from_query(query, output=take, format=format_)
    await asyncio.to_thread(found.take, bytes(batch))
