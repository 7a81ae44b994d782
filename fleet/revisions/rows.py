"""What a database says of its own revision."""

from __future__ import annotations

from fleet.connections import Connection

_FIND = """
    select format('select distinct version_num from %I.%I order by 1', n.nspname, c.relname)
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v')
"""


async def read_rows(connection: Connection, version_table: str) -> tuple[str, ...] | None:
    """The rows of Alembic's table (name, or schema.name), sorted; None where there is no such table.

    Raises:
        asyncpg.PostgresError: it may not be read, or somebody holds it locked.
    """
    schema, _, table = version_table.rpartition(".")
    query = await connection.fetchval(_FIND, schema or "public", table)
    if query is None:
        return None
    return tuple(record["version_num"] for record in await connection.fetch(query))
