"""What each revision of an application's scripts does to its schema, found out on a server of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from fleet.connections import Connection
from fleet.environment import SchemaSettings
from fleet.errors import ProcessError
from fleet.revisions import RevisionGraph
from fleet.schema.catalogue import read_catalogue, to_catalogue
from fleet.schema.objects import Catalogue, SchemaObject
from fleet.schema.queries import catalogue_sql
from fleet.schema.scripted import ScriptedDatabase, scripted_database

Key: TypeAlias = tuple[str, str, str]
_TRACE = "custode_trace"
_INSTALL = f"""
    create schema {_TRACE};
    create table {_TRACE}.stages (id bigint generated always as identity primary key, rows text[], objects json);
    create function {_TRACE}.note() returns trigger language plpgsql security definer
    set search_path = '' set quote_all_identifiers = off set datestyle = 'ISO, YMD' set intervalstyle = postgres
    set timezone = 'UTC' set extra_float_digits = 3 set bytea_output = hex set jit = off
    as $note$
    declare versions text[];
    begin
        execute 'select array_agg(version_num::text) from ' || tg_relid::regclass into versions;
        insert into {_TRACE}.stages (rows, objects)
            select versions, json_agg(json_build_array(each.kind, each.name, each.relation, each.definition::text))
            from ({catalogue_sql(comments=False, grants=False)}) each;
        return null;
    end $note$
"""  # noqa: S608 - joined from constants
# the version table is made by the application, as it likes
_WATCH = f"""
    create function {_TRACE}.watch() returns event_trigger language plpgsql as $watch$
    declare made text;
    begin
        for made in
            select c.oid::regclass from pg_event_trigger_ddl_commands() d
            join pg_class c on c.oid = d.objid join pg_namespace n on n.oid = c.relnamespace
            where d.classid = 'pg_class'::regclass and n.nspname = %L and c.relname = %L
        loop
            execute 'create trigger {_TRACE} after insert or update or delete on ' || made ||
                ' for each statement execute function {_TRACE}.note()';
        end loop;
    end $watch$;
    create event trigger {_TRACE} on ddl_command_end when tag in ('CREATE TABLE')
        execute function {_TRACE}.watch()
"""  # noqa: S608 - joined from a constant


@dataclass(frozen=True, slots=True)
class Broken:
    """The first revision that does not run on a database of its own, and why."""

    revision: str
    error: str


@dataclass(frozen=True, slots=True)
class History:
    """`changes` are the revisions in an order of theirs, with the objects that each makes another (None: removes).

    `start` is what is there before the first of them; `version` the major version of the server that worded it.
    """

    start: Mapping[Key, SchemaObject]
    changes: Mapping[str, Mapping[Key, SchemaObject | None]]
    version: int
    broken: Broken | None = None
    touched: Mapping[Key, tuple[str, ...]] = field(init=False)  # by which revisions, in order

    def __post_init__(self) -> None:
        touched: dict[Key, tuple[str, ...]] = {}
        for revision, changed in self.changes.items():
            for key in changed:
                touched[key] = (*touched.get(key, ()), revision)
        object.__setattr__(self, "touched", touched)

    def states(self, key: Key) -> list[SchemaObject | None]:
        """What an object is at first, and after each of the revisions that touch it."""
        return [self.start.get(key), *(self.changes[revision][key] for revision in self.touched.get(key, ()))]

    def before(self, revision: str, key: Key) -> SchemaObject | None:
        return self.states(key)[self.touched[key].index(revision)]

    def catalogue(self, revisions: Collection[str]) -> Catalogue:
        """The schema where these are applied, and no others."""
        objects: dict[Key, SchemaObject | None] = dict(self.start)
        for revision, changed in self.changes.items():
            if revision in revisions:
                objects |= changed
        return Catalogue.of((one for one in objects.values() if one is not None), self.version)


async def read_history(settings: SchemaSettings, graph: RevisionGraph, *, extensions: Collection[str] = ()) -> History:
    """Run all revisions on an empty database, and look at the schema after each; takes some seconds.

    `extensions` are made before: those that the environment has, whoever made them.

    Raises:
        ConfigError: `settings` do not say how migrations are run, or the scripts form a circle.
        DaemonError: the server does not start.
    """
    ignore = (f"*:{_TRACE}*", f"table:{_qualified(settings.version_table)}")
    async with scripted_database(settings, extensions=extensions) as database:
        async with database.acquire() as connection:
            await _install(connection, settings.version_table)
            start = (await read_catalogue(connection)).without(ignore)
        broken = await _run(database, graph)
        changes: dict[str, dict[Key, SchemaObject | None]] = {}
        last = {one.key: one for one in start.objects}
        async with database.acquire() as connection:
            for (id_,) in await connection.fetch(f"select id from {_TRACE}.stages order by id"):  # noqa: S608
                # one after the other: each is a whole schema
                sql = f"select rows, objects from {_TRACE}.stages where id = $1"  # noqa: S608 - a constant
                ((rows, objects),) = await connection.fetch(sql, id_)
                new = graph.applied(rows or ()) - changes.keys()
                if new:  # a merge writes its rows one by one: it is there with the last of them
                    catalogue = await asyncio.to_thread(to_catalogue, json.loads(objects), start.version)
                    now = {one.key: one for one in catalogue.without(ignore).objects}
                    changes |= {revision: {} for revision in graph.ordered(new)}
                    changes[[*changes][-1]] = dict(_changed(last, now))
                    last = now
    return History({one.key: one for one in start.objects}, changes, start.version, broken)


async def _install(connection: Connection, version_table: str) -> None:
    schema, _, table = version_table.rpartition(".")
    await connection.execute(_INSTALL)
    await connection.execute(
        await connection.fetchval("select format($1, $2::text, $3::text)", _WATCH, schema or "public", table)
    )


async def _run(database: ScriptedDatabase, graph: RevisionGraph) -> Broken | None:
    """All at once; where that fails, one after the other to see which."""
    try:
        await database.upgrade("heads")
    except ProcessError:
        for revision in graph.ordered(graph.parents.keys()):
            try:
                await database.upgrade(revision)
            except ProcessError as error:
                return Broken(revision, error.message)
    return None


def _changed(
    before: Mapping[Key, SchemaObject], after: Mapping[Key, SchemaObject]
) -> Iterator[tuple[Key, SchemaObject | None]]:
    for key, one in after.items():
        if key not in before or before[key].definition != one.definition or before[key].table != one.table:
            yield key, one
    yield from ((key, None) for key in before if key not in after)


def _qualified(version_table: str) -> str:
    return version_table if "." in version_table else f"public.{version_table}"
