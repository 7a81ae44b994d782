"""Which schema an environment really has: Alembic revisions, objects by kind, a fingerprint to compare by."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from collectors import Collector, Family, Rows, Session, Target, gauge, info
from collectors._fingerprint import COUNTS, DEPARSE_SETTINGS, FINGERPRINT
from fleet.durations import Duration
from fleet.environment import SchemaSettings
from fleet.errors import ConfigError
from fleet.revisions import RevisionGraph, read_graph, script_files

REVISION = Family(
    ("datname", "revision"),
    (info("schema_revision_info", "A current Alembic revision of the database."),),
)
REVISIONS = Family(
    ("datname",),
    (
        gauge("schema_revisions", "How many current revisions the version table holds (several: unmerged branches)."),
        gauge("schema_revisions_behind", "How many revisions of the application's scripts are not applied."),
    ),
)
OBJECTS = Family(
    ("datname", "kind"),
    (gauge("schema_objects", "How many objects of this kind there are, without those of extensions."),),
)
FINGERPRINT_OF = Family(
    ("datname", "fingerprint"),
    (info("schema_fingerprint_info", "SHA-256 of the schema's definition; equal schemas have equal ones."),),
)

_VERSION_TABLE = """
    select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable,
           format('select distinct version_num from %I.%I order by 1', n.nspname, c.relname) as query
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = $2 and c.relkind in ('r', 'p', 'v')
"""


@dataclass(frozen=True, slots=True)
class _Schema:
    """What one database says of its schema; None where it could not be read."""

    database: str
    revisions: list[str] | None
    objects: list[Any]
    fingerprint: str | None


class SchemaCollector(Collector):
    name = "schema"
    summary = "Alembic revisions and how far behind, objects by kind, a fingerprint to compare by"
    families = (REVISION, REVISIONS, OBJECTS, FINGERPRINT_OF)

    class Options(Collector.Options):
        interval: Duration = timedelta(seconds=60)

    def __init__(self, options: Collector.Options) -> None:
        super().__init__(options)
        self._scripts: list[tuple[str, int, int]] | None = None
        self._graph: RevisionGraph | None = None

    async def collect(self, target: Target) -> list[Rows]:
        async def read(session: Session) -> list[Any]:
            return [await _read(target, session)]

        schemas: list[_Schema] = await target.each(read)
        graph = await self._read_graph(target)
        known = [(schema, schema.revisions) for schema in schemas if schema.revisions is not None]
        migrations = target.environment.migrations
        # where nothing is configured, Alembic may not be in use at all
        if migrations != SchemaSettings() and not known and not target.failures and not target.gaps:
            table = migrations.version_table
            target.gap(table, f"no database has the table {table}, where Alembic keeps its revision")
        return [
            REVISION.rows([(schema.database, id_, 1) for schema, ids in known for id_ in ids]),
            REVISIONS.rows(
                [(schema.database, len(ids), graph.behind(ids) if graph else None) for schema, ids in known]
            ),
            OBJECTS.rows([record for schema in schemas for record in schema.objects]),
            FINGERPRINT_OF.rows([(schema.database, schema.fingerprint, 1) for schema in schemas if schema.fingerprint]),
        ]

    async def _read_graph(self, target: Target) -> RevisionGraph | None:
        folder = target.environment.migrations.scripts
        if folder is None:
            return None
        try:
            return await asyncio.to_thread(self._cached_graph, folder)
        except (ConfigError, OSError) as error:
            target.failed("migrations.scripts", error)
            return None

    def _cached_graph(self, folder: Path) -> RevisionGraph:
        stats = [(str(path), path.stat()) for path in script_files(folder)]
        scripts = [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]
        if self._graph is None or scripts != self._scripts:
            self._graph = None  # broken scripts must not leave the graph of the former ones
            self._graph, self._scripts = read_graph(folder), scripts
        return self._graph


async def _read(target: Target, session: Session) -> _Schema:
    return _Schema(
        session.database,
        await _revisions(target, session),
        await session.fetch(COUNTS),
        await _fingerprint(target, session),
    )


async def _revisions(target: Target, session: Session) -> list[str] | None:
    name = target.environment.migrations.version_table
    schema, _, table = name.rpartition(".")
    facts = await session.connection.fetchrow(_VERSION_TABLE, schema or "public", table)
    if facts is None:
        return None
    if not facts["readable"]:
        target.gap(f"{session.database}.{name}", "the role may not read this table")
        return None
    try:
        return [record[0] for record in await session.fetch(facts["query"])]
    except asyncpg.PostgresError as error:
        target.failed(f"{session.database}.{name}", error)
        return None


async def _fingerprint(target: Target, session: Session) -> str | None:
    """None where it cannot be told: the deparse functions wait for locks, so a locked table hides the whole."""
    try:
        async with session.connection.transaction(isolation="repeatable_read", readonly=True):
            await session.fetch(DEPARSE_SETTINGS)
            fingerprint: str = await session.connection.fetchval(FINGERPRINT)
            return fingerprint
    except asyncpg.PostgresError as error:
        target.failed(f"{session.database} fingerprint", error)
        return None
