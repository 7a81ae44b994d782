"""What a refresh finds at its source: everything decided on, a key for the masks, extensions, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actions._action import Job
from actions._migration_place import rows_of
from actions._refresh_guard import elsewhere, only_database
from actions._refresh_load import make_masker
from actions._refresh_source import choose_backup, enforce_decisions
from actions._restore_place import upstairs
from fleet.connections import Connection
from fleet.data.schema import read_tables
from fleet.data.tables import Table
from fleet.errors import ActionError

_DISK = 1.2  # of the source's size: while it is loaded, some of it is there twice
_EXTENSIONS = "select extname::text from pg_catalog.pg_extension"
_UNKNOWN = """
    select name from unnest($1::text[]) name
    where name not in (select name from pg_catalog.pg_available_extensions) order by 1
"""
_MAY_CREATE = "select rolcreatedb or rolsuper from pg_catalog.pg_roles where rolname = current_user"
_SIZE = """
    select coalesce(sum(pg_total_relation_size(t.relid)), 0)::int8
    from unnest($1::text[]) name, pg_partition_tree(name::regclass) t
"""
_PLAIN_SIZE = "select coalesce(sum(pg_total_relation_size(name::regclass)), 0)::int8 from unnest($1::text[]) name"


@dataclass(frozen=True, slots=True)
class Found:
    """`told` says what becomes of the tables; `size_bytes` is of those that are copied, with their indexes."""

    database: str
    backup: Mapping[str, Any] | None
    revision: Sequence[str]
    size_bytes: float
    told: str

    @property
    def taken(self) -> str:
        return "" if self.backup is None else f", as of {self.backup['taken']}"


async def look_at_source(
    job: Job, source: str, datname: str | None, backup: tuple[str | None, str | None] | None
) -> Found:
    """`backup` is id and store of the backup to read (None: the newest, any), or None for the source as it is.

    Raises:
        ActionError: something is undecided, there is no key, or the target's server cannot take it.
        ConnectError: the source cannot be reached.
    """
    masker = await make_masker(job)
    async with elsewhere(job, source) as site:
        database = await only_database(site, datname)
        async with site.connections.acquire(database) as connection:
            tables = await read_tables(connection)
            enforce_decisions(job, tables)
            copied = [table for table in tables if masker.select(table) is not None]
            size = await _size(connection, copied)
            revision = await rows_of(connection, job.environment.migrations, database)
            extensions = [row[0] for row in await connection.fetch(_EXTENSIONS)]
            major = connection.get_server_version().major
        chosen = None if backup is None else await choose_backup(site, database, *backup)
    await _check_server(job, major, extensions)
    masked = [table for table in copied if (found := masker.select(table)) and found.format == "text"]
    told = f"{len(copied)} tables, {len(masked)} of them masked, {len(tables) - len(copied)} emptied"
    return Found(database, chosen, revision, size * _DISK, told)


async def _size(connection: Connection, tables: Sequence[Table]) -> int:
    parts = [table.quoted for table in tables if table.quoted == table.source]
    plain = [table.quoted for table in tables if table.quoted != table.source]
    return int(await connection.fetchval(_SIZE, parts)) + int(await connection.fetchval(_PLAIN_SIZE, plain))


async def _check_server(job: Job, major: int, extensions: Sequence[str]) -> None:
    async with upstairs(job.connections) as connection:
        mine = connection.get_server_version().major
        may_create = await connection.fetchval(_MAY_CREATE)
        unknown = [row["name"] for row in await connection.fetch(_UNKNOWN, list(extensions))]
    name = job.environment.name
    if mine < major:
        raise ActionError(f"the server of {name} is of version {mine}, that of the source of {major}")
    if unknown:
        raise ActionError(f"the server of {name} has no extension {', '.join(unknown)}", hint="install its package")
    if not may_create:
        raise ActionError(f"the role of {name} may not make databases", hint="grant it CREATEDB")
