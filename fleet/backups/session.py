"""Several connections that see one snapshot of a database, exported by the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg

from fleet.backups.bulk import Bulk
from fleet.backups.tables import LargeTable
from fleet.connections import Connection, Connections
from fleet.errors import ActionError

LOCK_WAIT = "30s"


class Session:
    """`snapshot` is what other programs may import; `first` is the connection that exported it, `readers` copy."""

    def __init__(self, first: Connection, snapshot: str, readers: Sequence[Bulk]) -> None:
        self.first = first
        self.snapshot = snapshot
        self.readers = readers

    async def lock(self, tables: Sequence[LargeTable]) -> None:
        """Keep the tables from being dropped or rewritten until the session ends.

        Raises:
            ActionError: one was, since the snapshot was taken: through it, a truncated table would look empty.
        """
        for table in tables:
            try:
                await self.first.execute(f"lock table only {table.quoted} in access share mode")
                filenode = await self.first.fetchval("select pg_relation_filenode($1::oid)", table.oid)
            except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
                filenode = None
            if filenode != table.filenode:
                raise ActionError(
                    f"{table.quoted} was dropped, truncated or rewritten as the backup began",
                    hint="the next try sees the table as it is then",
                )


@asynccontextmanager
async def open_session(
    connections: Connections, database: str, parameters: Mapping[str, str], readers: int
) -> AsyncIterator[Session]:
    """Take the snapshot and let `readers` further connections (libpq's `parameters`) import it.

    Raises:
        ConnectError: the server cannot be reached, or refuses us.
    """
    async with AsyncExitStack() as held:
        first = await held.enter_async_context(connections.acquire(database))
        await held.enter_async_context(_transaction(first))
        snapshot = str(await first.fetchval("select pg_export_snapshot()"))
        await first.execute(_QUIET)
        others: list[Bulk] = []
        held.push_async_callback(_close, others)
        for _ in range(readers):
            reader = await asyncio.to_thread(Bulk, parameters)
            others.append(reader)
            await asyncio.to_thread(reader.execute, f"{_BEGIN}; set transaction snapshot '{snapshot}'; {_QUIET}")
        yield Session(first, snapshot, others)


async def _close(readers: Sequence[Bulk]) -> None:
    for reader in readers:
        await asyncio.to_thread(reader.close)


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncIterator[None]:
    """Where it is left by an error, a COPY may be under way, and the connection of no use for anything else."""
    transaction = connection.transaction(isolation="repeatable_read", readonly=True)
    try:
        await transaction.start()
        yield
        await transaction.rollback()
    except BaseException:
        connection.terminate()
        raise


_BEGIN = "begin isolation level repeatable read read only"
# of a transaction that reads for long; rows that a policy hides are an error, not absent
_QUIET = f"""
    set local statement_timeout = 0;
    set local idle_in_transaction_session_timeout = 0;
    set local lock_timeout = '{LOCK_WAIT}';
    set local row_security = off;
    set local synchronize_seqscans = off;
    set local max_parallel_workers_per_gather = 0;
    set local search_path = '';
    set local timezone = 'UTC';
    set local datestyle = 'ISO, YMD';
    set local intervalstyle = 'postgres';
    set local extra_float_digits = 3;
    set local bytea_output = 'hex';
    set local enable_indexscan = off;
    set local enable_bitmapscan = off;
    set local enable_indexonlyscan = off
"""
