"""`sql`: the server's own `df`, where our role may run programs there.

PostgreSQL has no function that tells free space. COPY FROM PROGRAM can, and only into a table: a temporary one, in a
transaction that is rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg

from fleet.connections import Connection, Connections
from fleet.disks._source import DiskSource, Usage
from fleet.errors import CustodeError

_MAY = """
    select pg_catalog.pg_has_role(current_user, 'pg_execute_server_program', 'usage')
       and pg_catalog.has_database_privilege(pg_catalog.current_database(), 'temporary')
       and not pg_catalog.pg_is_in_recovery()
"""
# the program starts in the data directory; the shell finds WAL and tablespaces behind their links
_COPY = """
    copy pg_temp.custode_df from program 'df -Pk . pg_wal/. pg_tblspc/*/. 2>/dev/null || true'
    with (format csv, delimiter e'\\x01', quote e'\\x02', escape e'\\x02')
"""
# `df -P` of POSIX: device, 1024-byte blocks, used, available, capacity, mount point
_LINE = re.compile(r"^.*?\s+(?P<size>\d+)\s+\d+\s+(?P<available>-?\d+)\s+(?:\d+%|-)\s+(?P<mountpoint>/.*)$")


class SqlSource(DiskSource):
    name = "sql"
    summary = "df run by the server: needs pg_execute_server_program, a primary, and a Unix-like server"

    async def usage(self, connections: Connections) -> Sequence[Usage]:
        try:
            async with connections.acquire() as connection:
                if not await connection.fetchval(_MAY):
                    return []
                lines = await _run_df(connection)
        except asyncpg.PostgresError as error:
            raise CustodeError(f"the server cannot run df: {error}") from error
        return parse_df(lines)


async def _run_df(connection: Connection) -> list[str]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("set transaction read write")
        await connection.execute("create temporary table custode_df (line text)")
        await connection.execute(_COPY)
        return [record[0] for record in await connection.fetch("select line from pg_temp.custode_df")]
    finally:
        await transaction.rollback()


def parse_df(lines: Sequence[str]) -> list[Usage]:
    """What `df -Pk` printed, one Usage a mount point; its header and what is no file system are left out."""
    matches = [match for line in lines if (match := _LINE.match(line))]
    return list(
        {
            match["mountpoint"]: Usage(match["mountpoint"], int(match["size"]) * 1024, int(match["available"]) * 1024)
            for match in matches
        }.values()
    )
