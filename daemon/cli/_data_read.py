"""Production's tables beside what is decided on them for a target, read without a daemon; values are not shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import typer

from daemon import clock
from daemon.cli._console import config_path
from daemon.config import LogSettings, load
from daemon.logs import configure_logs
from fleet.backups.facts import databases_of
from fleet.connections import Connection, Connections
from fleet.data.classify import Proposal, column_by_column, propose, sample
from fleet.data.decisions import Decisions, Do, Undecided
from fleet.data.masks import Masker, read_key
from fleet.data.schema import read_tables
from fleet.data.tables import Table, find_table
from fleet.environment import Environment
from fleet.errors import ActionError, ConnectError
from fleet.policy import Tier
from fleet.secrets import Secrets

STATEMENT_SECONDS = 60.0
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Ends:
    """Where data comes from, and for whom it is decided on."""

    source: Environment
    target: Environment

    @property
    def decisions(self) -> Decisions:
        return self.target.policy.data.decisions

    @property
    def lacks_key(self) -> bool:
        """Whether a column is to be masked, and no key is named."""
        return self.target.policy.data.mask_key is None and self.decisions.masked


@dataclass(frozen=True, slots=True)
class Database:
    """One database of the source; `unused` are decided tables that it does not have."""

    name: str
    tables: tuple[Table, ...]
    undecided: tuple[Undecided, ...]
    proposals: tuple[Proposal, ...] = ()
    unused: tuple[str, ...] = ()


def read_ends(config: Path | None, target: str, source: str | None) -> Ends:
    """The environments meant; `source` None: the only one of tier production.

    Raises:
        ConfigError: the configuration cannot be used.
        typer.BadParameter: there is no such environment, or the target is production.
    """
    configure_logs(LogSettings(level="error"))
    environments = load(config_path(config)).environments
    production = [name for name, each in environments.items() if each.tier is Tier.PRODUCTION]
    if source is None and len(production) != 1:
        raise typer.BadParameter(f"say --source: there are {len(production)} environments of tier production")
    for name in (target, source or production[0]):
        if name not in environments:
            raise typer.BadParameter(f"{name!r} is no environment; there are: {', '.join(environments)}")
    ends = Ends(environments[source or production[0]], environments[target])
    if ends.target.tier is Tier.PRODUCTION or ends.target.name == ends.source.name:
        raise typer.BadParameter(f"data is never copied into {target}")
    return ends


def read_databases(ends: Ends, *, classify: bool = False) -> list[Database]:
    """Every database of the source; `classify` looks at a sample of what is undecided.

    Raises:
        ConnectError: the source cannot be reached, or not all of it may be read.
    """
    return asyncio.run(_databases(ends, classify=classify))


def preview(ends: Ends, database: str | None, table: str, rows: int) -> list[list[str | None]]:
    """Masked rows of one table, with the names of its columns first; what is kept or emptied is told in words.

    Raises:
        ActionError: it is not all decided on, or emptied; or there is no key.
        ConnectError: the source cannot be reached, or the table may not be read.
        typer.BadParameter: there is no such table.
    """
    return asyncio.run(_preview(ends, database, table, rows))


@contextmanager
def _told(environment: Environment) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        # words of a server may quote a row; its state does not
        said = type(error).__name__ if isinstance(error, asyncpg.DataError) else str(error) or type(error).__name__
        raise ConnectError(f"{environment.name} cannot be read: {said}") from error


async def _databases(ends: Ends, *, classify: bool) -> list[Database]:
    connections = Connections(ends.source, Secrets(clock.monotonic), statement_seconds=STATEMENT_SECONDS)
    try:
        with _told(ends.source):
            names = await databases_of(ends.source, connections)
            return [await _database(ends, connections, name, classify=classify) for name in names]
    finally:
        await connections.close()


async def _database(ends: Ends, connections: Connections, name: str, *, classify: bool) -> Database:
    async with connections.acquire(name) as connection:
        tables = await read_tables(connection)
        undecided = ends.decisions.check_against(tables, ends.target.tier)
        proposals = await _proposals(connection, undecided) if classify else []
    there = {table.key for table in tables}
    unused = [".".join(key) for key in ends.decisions.tables if key not in there]
    return Database(name, tuple(tables), tuple(undecided), tuple(proposals), tuple(unused))


async def _proposals(connection: Connection, undecided: list[Undecided]) -> list[Proposal]:
    columns = [each for one in undecided for each in column_by_column(one)]
    found: list[Proposal] = []
    for table in dict.fromkeys(each.table for each in columns):
        of_table = [each for each in columns if each.table == table]
        values = await sample(connection, table, [each.column for each in of_table if each.column is not None])
        found += [propose(each, values.get(each.column.name, ())) for each in of_table if each.column is not None]
    return found


async def _preview(ends: Ends, database: str | None, name: str, count: int) -> list[list[str | None]]:
    secrets = Secrets(clock.monotonic)
    policy = ends.target.policy.data
    key = read_key(None if policy.mask_key is None else await secrets.fill(policy.mask_key))
    masker = Masker(ends.decisions, key, ends.target.tier)
    connections = Connections(ends.source, secrets, statement_seconds=STATEMENT_SECONDS)
    try:
        with _told(ends.source):
            async with connections.acquire(database) as connection:
                return await _masked(connection, masker, name, count)
    finally:
        await connections.close()


async def _masked(connection: Connection, masker: Masker, name: str, count: int) -> list[list[str | None]]:
    table = find_table(await read_tables(connection), name)
    if table is None:
        raise typer.BadParameter(f"there is no table {name!r}; write name, or schema.name")
    selection = masker.select(table)
    if selection is None:
        raise ActionError(f"{table.shown} is emptied: there are no rows to mask")
    head: list[str | None] = [column.name for column, _ in selection.columns]
    masks = [masker.mask(column, each) if each.do is Do.MASK else None for column, each in selection.columns]
    chosen = ", ".join(
        f"{column.quoted}::text" if mask else "null::text"
        for (column, _), mask in zip(selection.columns, masks, strict=True)
    )
    async with connection.transaction(readonly=True):
        await connection.execute("set local datestyle = 'ISO, YMD'; set local bytea_output = 'hex'")
        rows = await connection.fetch(f"select {chosen} from {table.source} limit {count:d}")  # noqa: S608 - quoted
    words = [f"({each.do})" for _, each in selection.columns]
    return [head] + [
        [
            word if mask is None else mask(value) if value else value
            for word, mask, value in zip(words, masks, row, strict=True)
        ]
        for row in rows
    ]
