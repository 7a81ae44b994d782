"""Owners and grants of the new database: those that the one has whose place it takes, never those of the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import asyncpg

from actions._action import Figures
from actions._refresh_definitions import is_owner, read_definitions
from actions._restore_place import Place
from fleet.backups.post_data import Script, statements
from fleet.errors import ActionError

# everything of ours in the new database that a later statement does not give to somebody else
_OWNERS = """
    with own as (select oid, quote_ident(rolname) as owner from pg_catalog.pg_roles where rolname = $1),
    parts(class, object) as (
        select classid, objid from pg_catalog.pg_depend where deptype = 'e'
    )
    select format('alter schema %I owner to %s', n.nspname, owner) from own, pg_catalog.pg_namespace n
        where n.oid >= 16384 and n.nspname !~ '^pg_' and nspowner <> own.oid
            and ('pg_namespace'::regclass, n.oid) not in (select class, object from parts)
    union all
    select format('alter %s %s owner to %s', case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
            when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end, c.oid::regclass, owner)
        from own, pg_catalog.pg_class c
        where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and c.relowner <> own.oid
            and c.relnamespace <> 'pg_toast'::regnamespace
            and ('pg_class'::regclass, c.oid) not in (select class, object from parts)
            and not exists (
                select from pg_catalog.pg_depend d
                where c.relkind = 'S' and d.classid = 'pg_class'::regclass and d.objid = c.oid
                    and d.deptype in ('a', 'i'))
    union all
    select format('alter routine %s owner to %s', p.oid::regprocedure, owner) from own, pg_catalog.pg_proc p
        where p.oid >= 16384 and p.proowner <> own.oid
            and ('pg_proc'::regclass, p.oid) not in (select class, object from parts)
    union all
    select format('alter type %s owner to %s', format_type(t.oid, null), owner) from own, pg_catalog.pg_type t
        left join pg_catalog.pg_class c on c.oid = t.typrelid
        where t.oid >= 16384 and t.typowner <> own.oid and t.typcategory <> 'A' and t.typtype in ('c', 'd', 'e', 'r')
            and (t.typtype <> 'c' or c.relkind = 'c')
            and ('pg_type'::regclass, t.oid) not in (select class, object from parts)
"""
_GRANTS = frozenset({"ACL", "DEFAULT ACL"})
# of what the new database does not have
_ABSENT = (
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.WrongObjectTypeError,
)


async def take_over_rights(place: Place, database: str, owner: str) -> Figures:
    """Give the new database's objects to `owner`, then owners and grants as `database` has them.

    Raises:
        ActionError: the role may not.
    """
    scripts = await read_definitions(place.job, database, None)
    applied = absent = 0
    async with place.job.changes.acquire(place.database) as connection:
        try:
            for (statement,) in await connection.fetch(_OWNERS, owner):
                await connection.execute(statement)
            for statement in _rights(scripts):
                try:
                    await connection.execute(statement)
                    applied += 1
                except _ABSENT:
                    absent += 1
        except asyncpg.InsufficientPrivilegeError as error:
            raise ActionError(
                f"the role may not give away what it made: {error.args[0]}", hint=f"let it be a member of {owner}"
            ) from error
    return {"rights": applied, "rights_without_object": absent}


def _rights(scripts: Mapping[str, Script]) -> Iterator[str]:
    for script in scripts.values():
        for entry in script.entries:
            for statement in statements(entry.sql):
                if statement and (entry.kind in _GRANTS or is_owner(statement)):
                    yield statement
