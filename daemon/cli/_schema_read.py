"""Schemas of the fleet, read from the servers without a daemon: as they are, and as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import typer

from collectors._schema_facts import counterparts
from daemon.cli._console import config_path
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.schemas import FAILURES, Compared, Schema, read_schema, read_schemas, reading, said, set_beside
from fleet.backups.facts import databases_of
from fleet.environment import Environment
from fleet.revisions import Position, RevisionGraph, position, read_graph, read_scripts


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


async def stand(settings: Settings, environment: Environment) -> Stood:
    """Where each of its databases stands; what cannot be read is told, not raised."""
    problems: dict[str, str] = {}
    found: list[Schema] = []
    async with reading(environment) as connections:
        try:
            names = await databases_of(environment, connections)
        except FAILURES as error:
            return Stood(environment, (), {"": said(error)})
        for name in names:
            try:
                found.append(await read_schema(environment, connections, name))
            except FAILURES as error:
                problems[name] = said(error)
    graph: RevisionGraph | None = None
    theirs: dict[str, Schema] = {}
    reference = settings.schema_reference
    try:
        graph = await read_scripted_graph(environment)
    except FAILURES as error:
        problems["scripts"] = said(error)
    if reference is not None and reference != environment.name:
        try:
            theirs = {schema.database: schema for schema in await read_schemas(settings.environments[reference])}
        except FAILURES as error:
            problems["reference"] = said(error)
    beside = {one.schema.database: one for one in set_beside(found, theirs, reference or "")}
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
