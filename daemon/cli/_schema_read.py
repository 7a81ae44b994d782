"""Schemas of the fleet, read from the servers without a daemon: as they are, and as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import typer

from collectors._schema_facts import counterparts
from daemon import clock
from daemon.cli._console import config_path
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from fleet.backups.facts import databases_of
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.errors import ConnectError, CustodeError
from fleet.revisions import Position, RevisionGraph, position, read_graph, read_rows, read_scripts
from fleet.schema import Catalogue, Difference, Flight, compare, read_catalogue, read_flight, settled
from fleet.schema.scripted import scripted_catalogue
from fleet.secrets import Secrets

_STATEMENT_SECONDS = 60.0
_FAILURES = (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


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


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database stands; `position` is None without scripts, `beside` where there is no reference for it."""

    schema: Schema
    position: Position | None
    beside: Compared | None


@dataclass(frozen=True, slots=True)
class Stood:
    """An environment; `problems` are what could not be read, by database, or of the scripts."""

    environment: Environment
    databases: tuple[Standing, ...]
    problems: Mapping[str, str]


def settings_with(config: Path | None, *names: str | None) -> Settings:
    """The configuration, which has these environments.

    Raises:
        ConfigError: it cannot be used.
        typer.BadParameter: there is no such environment.
    """
    configure_logs(LogSettings(level="error"))
    settings = load(config_path(config))
    for name in names:
        if name is not None and name not in settings.environments:
            known = ", ".join(settings.environments)
            raise typer.BadParameter(f"{name!r} is no environment; there are: {known}")
    return settings


async def read_schemas(environment: Environment, database: str | None = None) -> list[Schema]:
    """Those of all its databases, or of one. Raises ConnectError where not all can be read."""
    async with reading(environment) as connections:
        try:
            names = [database] if database is not None else await databases_of(environment, connections)
            return [await _schema(environment, connections, name) for name in names]
        except _FAILURES as error:
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
    return _beside(ours, theirs, against)


async def stand(settings: Settings, environment: Environment) -> Stood:
    """Where each of its databases stands; what cannot be read is told, not raised."""
    problems: dict[str, str] = {}
    found: list[Schema] = []
    async with reading(environment) as connections:
        try:
            names = await databases_of(environment, connections)
        except _FAILURES as error:
            return Stood(environment, (), {"": said(error)})
        for name in names:
            try:
                found.append(await _schema(environment, connections, name))
            except _FAILURES as error:
                problems[name] = said(error)
    graph: RevisionGraph | None = None
    theirs: dict[str, Schema] = {}
    reference = settings.schema_reference
    try:
        graph = await read_scripted_graph(environment)
    except _FAILURES as error:
        problems["scripts"] = said(error)
    if reference is not None and reference != environment.name:
        try:
            theirs = {schema.database: schema for schema in await read_schemas(settings.environments[reference])}
        except _FAILURES as error:
            problems["reference"] = said(error)
    beside = {one.schema.database: one for one in _beside(found, theirs, reference or "")}
    pairs = counterparts([schema.database for schema in found], list(theirs))
    standings = []
    for schema in found:
        other = theirs[pairs[schema.database]].rows if schema.database in pairs else None
        known = None if graph is None or schema.rows is None else position(graph, schema.rows, other)
        standings.append(Standing(schema, known, beside.get(schema.database)))
    return Stood(environment, tuple(standings), problems)


async def read_scripted_graph(environment: Environment) -> RevisionGraph | None:
    """None where no scripts are configured. Raises ConfigError."""
    if not environment.migrations.has_scripts:
        return None
    scripts = await read_scripts(environment.migrations)
    return await asyncio.to_thread(read_graph, scripts)


@asynccontextmanager
async def reading(environment: Environment) -> AsyncIterator[Connections]:
    connections = Connections(environment, Secrets(clock.monotonic), statement_seconds=_STATEMENT_SECONDS)
    try:
        yield connections
    finally:
        await connections.close()


def said(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _schema(environment: Environment, connections: Connections, database: str) -> Schema:
    table = environment.migrations.version_table
    async with connections.acquire(database) as connection:
        rows = await read_rows(connection, table)
        catalogue = await read_catalogue(connection)
        flight = await read_flight(connection, table)  # last: what began while we read is seen
    return Schema(environment, database, rows, catalogue, flight)


def _beside(ours: Sequence[Schema], theirs: Mapping[str, Schema], against: str) -> list[Compared]:
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
