"""The trouble planted in the demonstration's fleet, and what Custode should say of each.

More of it is in how the fleet is seeded: qa is one revision behind and its IVFFlat index was built on 40 rows (see
`sites`), production has messages past their 90 days (see `people.HISTORY_DAYS`), and whoever runs the demonstration
makes production's newest backup BACKUP_AGE old and its disk low.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg

Fault = Callable[[asyncpg.Connection], Awaitable[None]]

BACKUP_AGE = 26 * 3600.0  # seconds; production is promised one every hour

HAND_MADE_COLUMN = "note_revisore"
INVALID_INDEX = "uq_ki_title"
UNUSED_INDEX = "idx_kc_chunk_text_prefix"
OPS_ROLE = "ops_readonly"
OPS_WRITABLE_TABLE = "feed_status"


async def add_column_by_hand(connection: asyncpg.Connection) -> None:
    """A column that no migration knows: the schema differs from the reference environment's, and not by revision."""
    await connection.execute("ALTER TABLE knowledge_items ADD COLUMN note_revisore text")


async def fail_unique_index(connection: asyncpg.Connection) -> None:
    """CREATE UNIQUE INDEX CONCURRENTLY fails on double titles and leaves an invalid index, which costs every write."""
    with suppress(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY uq_ki_title ON knowledge_items (title)")


async def let_ops_write(connection: asyncpg.Connection) -> None:
    """The operators' role, which people use and which must only read, may write one table."""
    await connection.execute("GRANT INSERT ON feed_status TO ops_readonly")


async def exercise_prefix_search(connection: asyncpg.Connection) -> None:
    """Search by the beginning of the text, as the first version of the application did.

    Planted everywhere but in production: there the large index idx_kc_chunk_text_prefix is never scanned, while the
    schema is the same in all environments.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        for beginning in ("In materia di %", "Ne consegue %", "Resta fermo %"):
            await connection.fetch("SELECT id FROM knowledge_chunks WHERE left(chunk_text, 1000) LIKE $1", beginning)
