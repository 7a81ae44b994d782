"""Put a restored database in the place of another, and back: by renaming both in one transaction.

While a database is being renamed, PostgreSQL holds a lock on it that every new session of it waits for, and waits
itself, for 5 s, for those that are there to leave. So those are ended meanwhile, by a second connection; nobody comes
in between, and whatever moment a process dies in, either both have their new names or none has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from actions._action import Job
from actions._restore_place import marks, upstairs
from actions._session import alone
from fleet.connections import Connection
from fleet.errors import ActionError

_TRIES = 6
_PAUSE = 0.1
_END = """
    select count(pg_terminate_backend(pid)) from pg_catalog.pg_stat_activity
    where datname = any($1) and pid <> pg_backend_pid() and backend_type = 'client backend'
"""
# what pg_dump does not tell of a database: its settings, who may connect, how many
_SETTINGS = """
    select format('alter database %I set %I to %s', $2::text, split_part(setting, '=', 1),
        case when split_part(setting, '=', 1) in ('search_path', 'session_preload_libraries', 'local_preload_libraries',
                'temp_tablespaces')
            then nullif(substr(setting, strpos(setting, '=') + 1), '')
            else quote_literal(substr(setting, strpos(setting, '=') + 1)) end)
    from pg_catalog.pg_db_role_setting s
        join pg_catalog.pg_database d on d.oid = s.setdatabase and d.datname = $1
        cross join unnest(s.setconfig) setting
    where s.setrole = 0 and substr(setting, strpos(setting, '=') + 1) <> ''
    union all
    select format('alter role %I in database %I set %I to %s', r.rolname, $2::text, split_part(setting, '=', 1),
        case when split_part(setting, '=', 1) in ('search_path', 'session_preload_libraries', 'local_preload_libraries',
                'temp_tablespaces')
            then nullif(substr(setting, strpos(setting, '=') + 1), '')
            else quote_literal(substr(setting, strpos(setting, '=') + 1)) end)
    from pg_catalog.pg_db_role_setting s
        join pg_catalog.pg_roles r on r.oid = s.setrole
        join pg_catalog.pg_database d on d.oid = s.setdatabase and d.datname = $1
        cross join unnest(s.setconfig) setting
    where substr(setting, strpos(setting, '=') + 1) <> ''
    union all
    select format('alter database %I connection limit %s', $2::text, datconnlimit)
    from pg_catalog.pg_database where datname = $1 and datconnlimit >= 0
    union all
    select format('revoke all on database %I from public', $2::text)
    from pg_catalog.pg_database where datname = $1 and datacl is not null
    union all
    select format('grant %s on database %I to %s %s', a.privilege_type, $2::text,
        case a.grantee when 0 then 'public' else quote_ident(r.rolname) end,
        case when a.is_grantable then 'with grant option' else '' end)
    from pg_catalog.pg_database d cross join aclexplode(d.datacl) a left join pg_catalog.pg_roles r on r.oid = a.grantee
    where d.datname = $1 and d.datacl is not null
"""


@dataclass(frozen=True, slots=True)
class Renaming:
    """Of one database: its name now and then, the comment that it gets (None: as it is), whether it is open then."""

    now: str
    then: str
    comment: str | None = None
    is_open: bool = True


async def rename(job: Job, renamings: Sequence[Renaming]) -> None:
    """All at once, in this order, with the sessions of all of them ended.

    Raises:
        ActionError: somebody cannot be made to leave (a prepared transaction), or the role may not.
    """
    names = [one.now for one in renamings]
    for number in range(1, _TRIES + 1):
        try:
            async with upstairs(job.changes) as connection, alone(connection, job, "rename databases"):
                await connection.fetchval(_END, names)
                ending = asyncio.ensure_future(_keep_ending(job, names))
                try:
                    await _rename_all(connection, renamings)
                finally:
                    ending.cancel()
                    with suppress(asyncio.CancelledError):
                        await ending
        except asyncpg.ObjectInUseError as error:
            if number == _TRIES:
                raise ActionError(
                    f"{' and '.join(names)} cannot be renamed: {error}",
                    hint="is there a prepared transaction, or a replication slot, that holds one of them?",
                ) from error
        except asyncpg.InsufficientPrivilegeError as error:
            raise ActionError(f"the role may not rename databases: {error}", hint="let it own them") from error
        else:
            return


async def copy_settings(job: Job, from_: str, to: str) -> int:
    """Give a database what holds for another one beside its content; how many statements that took."""
    async with upstairs(job.changes) as connection, connection.transaction():
        statements = [row[0] for row in await connection.fetch(_SETTINGS, from_, to) if row[0] is not None]
        for statement in statements:
            await connection.execute(statement)
    return len(statements)


async def identity(job: Job, name: str) -> tuple[int, str | None]:
    """Object id (0: there is none) of a database, and the comment on it."""
    async with upstairs(job.connections) as connection:
        oid = await connection.fetchval("select oid::int8 from pg_catalog.pg_database where datname = $1", name)
        return oid or 0, (await marks(connection, name)).get(name)


async def name_of(job: Job, oid: int) -> str | None:
    """What the database is called by now; None where there is none of that object id."""
    async with upstairs(job.connections) as connection:
        name: str | None = await connection.fetchval(
            "select datname::text from pg_catalog.pg_database where oid = $1::int8::oid", oid
        )
        return name


async def _rename_all(connection: Connection, renamings: Sequence[Renaming]) -> None:
    async with connection.transaction():
        await connection.execute("set local statement_timeout = 0; set local lock_timeout = '15s'")
        for one in renamings:
            statements = [("alter database %I rename to %I", one.now, one.then)]
            statements.append(
                (f"alter database %I allow_connections {'true' if one.is_open else 'false'}", one.then, "")
            )
            if one.comment is not None:
                statements.append(("comment on database %I is %L", one.then, one.comment))
            for sql, *values in statements:
                await connection.execute(
                    await connection.fetchval("select format($1, $2::text, $3::text)", sql, *values)
                )


async def _keep_ending(job: Job, names: Sequence[str]) -> None:
    while True:
        async with upstairs(job.changes) as connection:
            await connection.execute("set statement_timeout = '5s'")
            await connection.fetchval(_END, list(names))
        await asyncio.sleep(_PAUSE)
