"""What a backup notes of the database that it dumps, read in the snapshot of the dump."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from fleet.backups.manifest import Table
from fleet.connections import Connection, Connections
from fleet.databases import DATABASES
from fleet.environment import Environment

# without indexes, whose definitions are all that a dump holds of them; their pages are counted by whatever built them
_TABLE_BYTES = """
    select greatest(0, pg_database_size(current_database()) - coalesce((
        select sum(relpages::bigint) * current_setting('block_size')::bigint
        from pg_class where relkind = 'i' and relpersistence <> 't'), 0))::bigint
"""

_TABLES = """
    select n.nspname as schema_name, c.relname as name,
        -- never analysed is -1; before version 14 it was 0 on 0 pages
        case when c.reltuples > 0 or (c.reltuples = 0
            and (c.relpages > 0 or current_setting('server_version_num')::int >= 140000))
        then c.reltuples::bigint end as rows
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence <> 't'
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_'
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    order by 1, 2
"""

_VERSION_TABLE = """
    select format('select version_num::text from %I.%I order by 1', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and c.relkind = 'r' and has_table_privilege(c.oid, 'select')
        and exists (select from pg_attribute where attrelid = c.oid and attname = 'version_num' and not attisdropped)
"""


_DATABASE = """
    select pg_get_userbyid(d.datdba) as owner, pg_encoding_to_char(d.encoding) as encoding,
        d.datcollate as collate, d.datctype as ctype, d.oid as oid
    from pg_database d where d.datname = current_database()
"""

# everybody who owns something here or may use it; what the bootstrap superuser owns has no dependency on record
_ROLES = """
    with used(oid) as (
        select refobjid from pg_shdepend
        where refclassid = 'pg_authid'::regclass and classid <> 'pg_database'::regclass
            and dbid = (select oid from pg_database where datname = current_database())
        union select relowner from pg_class where oid >= 16384
        union select nspowner from pg_namespace where oid >= 16384
        union select proowner from pg_proc where oid >= 16384
        union select datdba from pg_database where datname = current_database()
    )
    select rolname::text from pg_roles where oid in (select oid from used) and rolname !~ '^pg_' order by 1
"""

_HISTORY = """
    select (select system_identifier from pg_control_system())::text
        || '/' || (select timeline_id from pg_control_checkpoint())
        || '/' || (select oid from pg_database where datname = current_database())
"""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """`identity` names the server's history, "" where it does not tell; `xid` is the oldest transaction id in use."""

    owner: str
    encoding: str
    collate: str
    ctype: str
    roles: tuple[str, ...]
    identity: str
    xid: int
    extensions: dict[str, str]
    revisions: tuple[str, ...]
    tables: tuple[Table, ...]


async def databases_of(environment: Environment, connections: Connections) -> list[str]:
    """The configured databases, or all that accept us. Raises ConnectError."""
    if environment.databases is not None:
        return list(environment.databases)
    async with connections.acquire() as connection:
        return [name for name, accepts_us in await connection.fetch(DATABASES) if accepts_us]


async def table_bytes(connection: Connection) -> int:
    """Bytes of the database without its indexes: the most that a compressed dump of it takes.

    Measured on tables of vectors: 0.72 to 0.85 of it; less where there is text.
    """
    size: int = await connection.fetchval(_TABLE_BYTES)
    return size


async def read_facts(connection: Connection, environment: Environment) -> DatabaseFacts:
    """What the transaction's snapshot sees of the database that the connection is in."""
    schema, _, table = environment.migrations.version_table.rpartition(".")
    read_versions = await connection.fetchval(_VERSION_TABLE, schema or "public", table)
    revisions = await connection.fetch(read_versions) if read_versions else []
    extensions = await connection.fetch("select extname, extversion from pg_extension order by 1")
    (database,) = await connection.fetch(_DATABASE)
    return DatabaseFacts(
        owner=database["owner"],
        encoding=database["encoding"],
        collate=database["collate"],
        ctype=database["ctype"],
        roles=tuple(record["rolname"] for record in await connection.fetch(_ROLES)),
        identity=await _identity(connection),
        xid=int(await connection.fetchval("select pg_snapshot_xmin(pg_current_snapshot())::text")),
        extensions={record["extname"]: record["extversion"] for record in extensions},
        revisions=tuple(record["version_num"] for record in revisions),
        tables=tuple(Table.model_validate(dict(record)) for record in await connection.fetch(_TABLES)),
    )


async def _identity(connection: Connection) -> str:
    try:
        async with connection.transaction():
            return str(await connection.fetchval(_HISTORY))
    except asyncpg.InsufficientPrivilegeError:
        return ""
