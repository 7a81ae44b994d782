"""`custode state`: the tables of the daemon's own state, looked at and brought to the newest revision."""

from __future__ import annotations

import asyncio

import typer
from rich.text import Text

from daemon import clock
from daemon.cli._console import ConfigOption, JsonOption, config_path, out, print_json
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.state import Revision, StateDatabase
from fleet.errors import StateAwayError
from fleet.secrets import Secrets

state = typer.Typer(help="Look at the state database, or migrate it.", no_args_is_help=True)


@state.command("check")
def check(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Tell the revision of the state database, and change nothing; exit status 1 where it is not the newest."""
    settings = _settings(config)
    revision = asyncio.run(_check(settings))
    _print(settings, revision, json)
    raise typer.Exit(0 if revision.up_to_date else 1)


@state.command("migrate")
def migrate(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Bring the state database to the newest revision, as the daemon does when it starts."""
    settings = _settings(config)
    _print(settings, asyncio.run(_migrate(settings)), json)


def _settings(config: ConfigOption) -> Settings:
    configure_logs(LogSettings(level="error"))
    return load(config_path(config))


def _database(settings: Settings) -> StateDatabase:
    return StateDatabase(settings.state.url, settings.data_dir, Secrets(clock.monotonic))


async def _check(settings: Settings) -> Revision:
    database = _database(settings)
    try:
        return await database.revision()
    finally:
        await database.close()


async def _migrate(settings: Settings) -> Revision:
    database = _database(settings)
    try:
        await database.open()
        if database.away is not None:
            raise StateAwayError(database.away, hint="is state.url right, and the server running?")
        return await database.revision()
    finally:
        await database.close()


def _print(settings: Settings, revision: Revision, json: bool) -> None:
    place = settings.redacted()["state"]["url"] or str(settings.data_dir / "state")
    if json:
        print_json(
            {"database": place, "up_to_date": revision.up_to_date, "newer": revision.newer, "revision": revision}
        )
        return
    if revision.up_to_date:
        text, style = "up to date", "green"
    elif revision.newer:
        text, style = "newer than this Custode: upgrade Custode, or restore the state from before", "red"
    else:
        text, style = f"to be migrated to {revision.head}: custode state migrate, or start the daemon", "yellow"
    out.print(Text.assemble(f"{place}: revision {revision.current or 'none'}, ", (text, style)), soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.add_typer(state, name="state")
