"""Schemas of environments as they are, beside what they should be, read from the servers; nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from collectors._schema_facts import counterparts
from daemon import clock
from daemon.config import Settings
from fleet.backups.facts import databases_of
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import ConnectError, CustodeError
from fleet.revisions import read_rows
from fleet.schema import Catalogue, Difference, Flight, compare, read_catalogue, read_flight, settled, suggest
from fleet.schema.scripted import scripted_catalogue
from fleet.secrets import Secrets

_STATEMENT_SECONDS = 60.0
FAILURES = (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Schema:
    """Of one database. `rows` are those of the version table, None: there is none."""

    environment: Environment
    database: str
    rows: tuple[str, ...] | None
    catalogue: Catalogue
    flight: Flight


@dataclass(frozen=True, slots=True)
class Compared:
    """A database beside what it should be: as `against`, an environment, or as the scripts make it (None).

    `reference` is that schema, `differences` what would have to change.
    `migrating` are the environments of the two where a migration is under way: it may be all that differs.
    """

    schema: Schema
    against: str | None
    reference: Catalogue
    differences: tuple[Difference, ...]
    migrating: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not self.differences and not self.migrating


async def read_schemas(environment: Environment, database: str | None = None) -> list[Schema]:
    """Those of all its databases, or of one. Raises ConnectError where not all can be read."""
    async with reading(environment) as connections:
        try:
            names = [database] if database is not None else await databases_of(environment, connections)
            return [await read_schema(environment, connections, name) for name in names]
        except FAILURES as error:
            raise ConnectError(f"{environment.name} cannot be read: {said(error)}") from error


async def compared(
    settings: Settings, environment: Environment, against: str | None, database: str | None
) -> list[Compared]:
    """Its databases beside those of another environment, or beside what the scripts make (None).

    Raises:
        ConnectError: one of the environments cannot be read.
        ConfigError, DaemonError, ProcessError: the scripts cannot be run.
    """
    ours = await read_schemas(environment, database)
    if against is None:
        return [await _beside_scripts(schema) for schema in ours]
    theirs = {schema.database: schema for schema in await read_schemas(settings.environments[against])}
    return await asyncio.to_thread(set_beside, ours, theirs, against)


def suggested(one: Compared) -> list[str]:
    """SQL that would remove the differences."""
    return suggest(one.differences, one.reference)


@asynccontextmanager
async def reading(environment: Environment) -> AsyncIterator[Connections]:
    connections = Connections(environment, Secrets(clock.monotonic), statement_seconds=_STATEMENT_SECONDS)
    try:
        yield connections
    finally:
        await connections.close()


def said(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def read_schema(environment: Environment, connections: Connections, database: str) -> Schema:
    """That of one database. Raises asyncpg.PostgresError, ConnectError."""
    table = environment.migrations.version_table
    async with connections.acquire(database) as connection:
        rows = await read_rows(connection, table)
        catalogue = await read_catalogue(connection)
        flight = await read_flight(connection, table)  # last: what began while we read is seen
    return Schema(environment, database, rows, catalogue, flight)


def set_beside(ours: Sequence[Schema], theirs: Mapping[str, Schema], against: str) -> list[Compared]:
    """Each beside its counterpart in the environment `against`, whose schemas by database are `theirs`."""
    pairs = counterparts([schema.database for schema in ours], list(theirs))
    found = []
    for schema in ours:
        if schema.database not in pairs:
            continue
        other = theirs[pairs[schema.database]]
        ignore = schema.environment.migrations.ignore
        migrating = tuple(each.environment.name for each in (schema, other) if each.flight.migrating)
        differences = settled(compare(schema.catalogue, other.catalogue, ignore=ignore), schema.flight, other.flight)
        found.append(Compared(schema, against, other.catalogue.without(ignore), tuple(differences), migrating))
    return found


async def _beside_scripts(schema: Schema) -> Compared:
    settings = schema.environment.migrations
    extensions = [one.name for one in schema.catalogue.objects if one.kind == "extension"]
    reference = await scripted_catalogue(settings, schema.rows or (), extensions=extensions)
    ignore = (*settings.ignore, "extension:*")  # a server of ours has other ones
    differences = settled(compare(schema.catalogue, reference, ignore=ignore), schema.flight)
    migrating = (schema.environment.name,) if schema.flight.migrating else ()
    return Compared(schema, None, reference.without(ignore), tuple(differences), migrating)
