"""About how many rows a switch to a restored copy loses."""

from __future__ import annotations

import asyncpg
import structlog

from actions._action import Job
from fleet.errors import ConnectError

log = structlog.get_logger()

_COUNTS = """
    select format('%I.%I', s.schemaname, s.relname) as name, greatest(s.n_live_tup, c.reltuples)::int8 as rows
    from pg_catalog.pg_stat_user_tables s join pg_catalog.pg_class c on c.oid = s.relid
"""


async def count_losses(job: Job, damaged: str, copy: str) -> int | None:
    """Rows more in the damaged one, as its statistics have them; None where it does not tell any more."""
    try:
        before, after = [await _counts(job, name) for name in (damaged, copy)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectError, OSError) as error:
        log.warning("losses_unknown", database=damaged, error=str(error))
        return None
    return sum(max(0, rows - after.get(name, 0)) for name, rows in before.items())


async def _counts(job: Job, database: str) -> dict[str, int]:
    async with job.connections.acquire(database) as connection:
        return {row["name"]: row["rows"] for row in await connection.fetch(_COUNTS)}
