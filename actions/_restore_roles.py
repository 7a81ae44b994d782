"""The roles that a snapshot's database needs: told before anything is done, or made, unable to log in."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from actions._action import Job
from actions._restore_place import mark_of, upstairs
from fleet.backups import DatabaseSnapshot
from fleet.errors import ActionError

_MISSING = """
    select role from unnest($1::text[]) role
    where role !~ '^pg_' and not exists (select from pg_catalog.pg_roles where rolname = role) order by 1
"""
_OURS = "select rolname::text from pg_catalog.pg_roles where shobj_description(oid, 'pg_authid') = $1"


async def missing_roles(job: Job, snapshot: DatabaseSnapshot) -> list[str]:
    async with upstairs(job.connections) as connection:
        wanted = sorted({snapshot.owner, *snapshot.roles})
        return [row["role"] for row in await connection.fetch(_MISSING, wanted)]


async def make_roles(job: Job, names: Sequence[str]) -> None:
    """Make them, NOLOGIN and marked as the run's; what is there by now stays as it is."""
    for name in names:
        try:
            async with upstairs(job.changes) as connection, connection.transaction():
                for sql in ("create role %I nologin", "comment on role %I is %L"):
                    made = await connection.fetchval("select format($1, $2::text, $3::text)", sql, name, mark_of(job))
                    await connection.execute(made)
        except asyncpg.DuplicateObjectError:
            continue
        except asyncpg.InsufficientPrivilegeError as error:
            raise ActionError(f"the role {name} cannot be made: {error}", hint="make it yourself") from error


async def drop_roles(job: Job) -> None:
    """Drop those that the run made, unless they have become somebody's."""
    async with upstairs(job.changes) as connection:
        for (name,) in await connection.fetch(_OURS, mark_of(job)):
            try:
                await connection.execute(await connection.fetchval("select format('drop role %I', $1::text)", name))
            except asyncpg.DependentObjectsStillExistError:
                continue
