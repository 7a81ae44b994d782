"""Whether a migration is on its way: what it has not finished is no drift."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.connections import Connection

# Alembic writes the revision within the transaction that changes the schema, and holds its lock until the commit. A
# build of an index is visible by its progress; REINDEX and CREATE INDEX alike.
_SQL = """
    select exists (
            select from pg_catalog.pg_locks l
            join pg_catalog.pg_database d on d.oid = l.database and d.datname = current_database()
            join pg_catalog.pg_class c on c.oid = l.relation and c.relname = $2
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
            where l.locktype = 'relation' and l.pid <> pg_backend_pid()
              and l.mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        ) as migrating,
        array(
            select distinct format('%I.%I', n.nspname, t.relname)
            from pg_catalog.pg_stat_progress_create_index p
            join pg_catalog.pg_class t on t.oid = p.relid
            join pg_catalog.pg_namespace n on n.oid = t.relnamespace
            where p.datname = current_database()
        ) as building
"""


@dataclass(frozen=True, slots=True)
class Flight:
    """`migrating`: a migration holds the version table. `building` are tables, quoted, that get an index just now."""

    migrating: bool
    building: frozenset[str]


async def read_flight(connection: Connection, version_table: str) -> Flight:
    """What is under way in the database of `connection`; `version_table` is a name, or schema.name."""
    schema, _, table = version_table.rpartition(".")
    [record] = await connection.fetch(_SQL, schema or "public", table)
    return Flight(record["migrating"], frozenset(record["building"]))
