"""Vector indexes of an environment, read from its server without a daemon: as they are, and what to do about them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import typer

import collectors
from collectors import Collector, Target
from daemon import clock
from daemon.cli._console import config_path
from daemon.config import LogSettings, load
from daemon.logs import configure_logs
from daemon.scrape import run_collector
from fleet.backups.facts import databases_of
from fleet.connections import Connection, Connections
from fleet.environment import Environment
from fleet.errors import ActionError, ConnectError
from fleet.plugins import load_plugins
from fleet.policy import VectorPolicy
from fleet.secrets import Secrets
from fleet.vectors.advice import Known
from fleet.vectors.curve import measure_curve
from fleet.vectors.health import Server, Unindexed, measure_distance, read_health, read_server, read_unindexed
from fleet.vectors.plans import explain_use
from fleet.vectors.shapes import misfits

STATEMENT_SECONDS = 60.0
_COLLECTOR_DEADLINE = timedelta(seconds=60)
_BUILD_ROWS = "custode_vector_index_build_rows"
_FAILURES = (ConnectError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Database:
    """The indexes of one database, and the columns that have none; `remarks` are what could not be read of it."""

    name: str
    server: Server
    known: tuple[Known, ...]
    unindexed: tuple[Unindexed, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indexed:
    """An environment; `problems` are the databases that could not be read, or the server."""

    environment: Environment
    databases: tuple[Database, ...]
    problems: Mapping[str, str]


def read_indexed(
    config: Path | None, environment: str | None, index: str | None = None, *, measure: bool = False
) -> list[Indexed]:
    """Of one environment (None: all); `measure` tries every index at several settings.

    Raises:
        ConfigError: the configuration cannot be used.
        typer.BadParameter: there is no such environment.
    """
    configure_logs(LogSettings(level="error"))
    environments = load(config_path(config)).environments
    if environment is not None and environment not in environments:
        raise typer.BadParameter(f"{environment!r} is no environment; there are: {', '.join(environments)}")
    chosen = [one for name, one in environments.items() if environment in {None, name}]
    return asyncio.run(_read_all(chosen, index, measure=measure))


async def _read_all(environments: Sequence[Environment], index: str | None, *, measure: bool) -> list[Indexed]:
    secrets = Secrets(clock.monotonic)
    return await asyncio.gather(*(_read(one, secrets, index, measure=measure) for one in environments))


async def _read(environment: Environment, secrets: Secrets, index: str | None, *, measure: bool) -> Indexed:
    connections = Connections(environment, secrets, statement_seconds=STATEMENT_SECONDS)
    databases: list[Database] = []
    problems: dict[str, str] = {}
    try:
        built, problem = await _build_rows(environment, connections)
        problems |= {"rows at the builds": problem} if problem else {}
        for name in await databases_of(environment, connections):
            try:
                async with connections.acquire(name) as connection:
                    found = await _database(connection, environment, name, index, built, measure=measure)
            except _FAILURES as error:
                problems[name] = str(error) or type(error).__name__
            else:
                databases += [] if found is None else [found]
    except _FAILURES as error:
        problems[""] = str(error) or type(error).__name__
    finally:
        await connections.close()
    return Indexed(environment, tuple(databases), problems)


async def _database(
    connection: Connection,
    environment: Environment,
    name: str,
    wanted: str | None,
    built: Mapping[tuple[str, ...], float],
    *,
    measure: bool,
) -> Database | None:
    server = await read_server(connection)
    if server is None:
        return None
    known: list[Known] = []
    remarks: list[str] = []
    for health in await read_health(connection):
        index = health.index
        if wanted not in {None, index.indexrelname, f"{index.schemaname}.{index.indexrelname}"}:
            continue
        key = (name, index.schemaname, index.relname, index.indexrelname)
        promised = environment.policy.vectors.promised(index.method)
        one = Known(replace(health, build_rows=built.get(key)), server, promised=promised)
        try:
            one = await _asked(connection, one, environment.policy.vectors, measure=measure)
        except (ActionError, asyncpg.PostgresError) as error:
            remarks.append(f"{index.schemaname}.{index.indexrelname}: {error}")
        known.append(one)
    unindexed = await read_unindexed(connection) if wanted is None else []
    return Database(name, server, tuple(known), tuple(unindexed), tuple(remarks))


async def _asked(connection: Connection, known: Known, policy: VectorPolicy, *, measure: bool) -> Known:
    """With what only the planner and searches tell. Raises asyncpg.PostgresError, ActionError."""
    health = known.health
    known = replace(known, use=await explain_use(connection, health.index))
    if not health.scans:
        known = replace(known, misfits=await misfits(connection, health.index))
    if measure and health.index.valid:
        seconds = await measure_distance(connection, health.index)
        curve = await measure_curve(connection, health.index, policy, health.search.values())
        known = replace(known, health=replace(health, distance_seconds=seconds), curve=curve)
    return known


async def _build_rows(
    environment: Environment, connections: Connections
) -> tuple[dict[tuple[str, ...], float], str | None]:
    """Rows of each index at its build, as the collector estimates them, and what kept it from that."""
    kind = load_plugins(collectors, Collector)["vectors"]
    batch = await run_collector(
        kind(kind.Options()), Target(environment, connections, clock.now()), _COLLECTOR_DEADLINE
    )
    found: dict[tuple[str, ...], float] = {}
    for rows in batch.rows:
        names = [metric.name for metric in rows.family.metrics]
        if _BUILD_ROWS in names:
            values = rows.values[names.index(_BUILD_ROWS)]
            found |= {key: value for key, value in zip(rows.keys, values, strict=True) if value is not None}
    return found, None if batch.reached is False else batch.error
