"""Fill the new database: the source's tables, rows as the policy decides, sequences, derived columns, views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from actions._action import Figures, Job
from actions._refresh_copy import QUOTING, RowCopy, without_rows
from actions._refresh_definitions import load_definitions, read_definitions
from actions._refresh_source import open_origin, read_people_of
from actions._restore_place import Place
from fleet.backups import DatabaseSnapshot
from fleet.connections import Connection
from fleet.data.masks import Masker, read_key
from fleet.data.scan import People
from fleet.data.tables import Table
from fleet.errors import ActionError

# those of a table that is emptied begin anew
_SEQUENCES = """
    select format('%I.%I', n.nspname, c.relname) as quoted, format('select last_value, is_called from %I.%I',
            n.nspname, c.relname) as query, t_n.nspname::text as schema, t.relname::text as table
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid
        and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
    left join pg_catalog.pg_class t on t.oid = d.refobjid
    left join pg_catalog.pg_namespace t_n on t_n.oid = t.relnamespace
    where c.relkind = 'S' and c.relpersistence <> 't' and n.nspname !~ '^pg_' and not exists (
        select from pg_catalog.pg_depend e
        where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e')
    order by 1
"""
# made in the order in which they need each other
_VIEWS = """
    select format('refresh materialized view %I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'm' order by c.oid
"""


async def make_masker(job: Job) -> Masker:
    """The masks of the target's policy. Raises ActionError: there is no key; SecretError: it cannot be read."""
    policy = job.environment.policy.data
    key = read_key(None if policy.mask_key is None else await job.secrets.fill(policy.mask_key))
    return Masker(policy.decisions, key, job.environment.tier)


async def load(
    place: Place, own: DatabaseSnapshot, planned: Mapping[str, Any], workers: int, people: People
) -> Figures:
    """Make the database and load it from one snapshot.

    What an earlier attempt made is dropped: the snapshot that it had read is gone. Whoever is in the backup that the
    rows are of, if they are, is added to `people`.

    Raises:
        ActionError: not all is decided on, or a row is not taken.
        ConnectError, ProcessError: the source, or pg_dump, fails.
    """
    job = place.job
    masker = await make_masker(job)
    await place.drop()
    async with open_origin(job, planned, workers) as origin:
        scripts = await read_definitions(origin.site, origin.database, origin.session.snapshot)
        await place.create(own, closed=True)
        await load_definitions(place, scripts)
        tables = [table for table in origin.tables if not table.foreign]
        copy = RowCopy(place, masker, origin.session.readers, job.progress)
        await copy.copy(tables)
        await _set_sequences(origin.session.first, place, tables, masker)
        if planned["backup"] is not None:
            await read_people_of(origin.site, origin.database, people)
    await _regenerate(place, tables, masker)
    await _run_all(place, _VIEWS)
    await place.make_durable()
    job.data["rows"] = sum(copy.rows.values())
    return {"rows": job.data["rows"], "tables": len(copy.rows)}


async def _set_sequences(source: Connection, place: Place, tables: Sequence[Table], masker: Masker) -> None:
    emptied = {table.key for table in tables if masker.select(table) is None}
    async with place.session() as connection:
        for found in await source.fetch(_SEQUENCES):
            if (found["schema"], found["table"]) not in emptied:
                ((last, is_called),) = await source.fetch(found["query"])
                await connection.execute("select setval($1::text::regclass, $2, $3)", found["quoted"], last, is_called)


async def _regenerate(place: Place, tables: Sequence[Table], masker: Masker) -> None:
    """Fill the columns that an expression is given for, and take away what the update left behind."""
    for table in tables:
        selection = masker.select(table)
        if selection is None or not selection.regenerated:
            continue
        place.job.progress(1.0, f"filling columns of {table.shown}")
        changes = ", ".join(f"{column} = {sql}" for column, sql in selection.regenerated)
        async with place.session() as connection:
            try:
                await connection.execute(f"update {table.quoted} set {changes}")  # noqa: S608 - of the policy
            except QUOTING as error:
                raise ActionError(f"{table.shown} is not filled anew: {without_rows(error)}") from None
            except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
                raise ActionError(
                    f"{table.shown} is not filled anew: {error.args[0]}", hint="see `regenerate`"
                ) from None
            await connection.execute(f"vacuum full {table.quoted}")


async def _run_all(place: Place, query: str) -> None:
    async with place.session() as connection:
        for (statement,) in await connection.fetch(query):
            await connection.execute(statement)
