"""`custode status`: the fleet as a table, from the running daemon where there is one."""

from __future__ import annotations

import asyncio

import typer
from pydantic import TypeAdapter

from daemon.cli._client import NoDaemonError, parsed, reach
from daemon.cli._console import ConfigOption, JsonOption, config_path, err, out, print_json
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.status import Board
from daemon.status.render import render

_BOARD = TypeAdapter(Board)


def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show environments × promises: kept or not, with the figures, and why not. Exit status 1 if one is broken."""
    settings = load(config_path(config))
    configure_logs(LogSettings(level="error"))
    board = asyncio.run(board_of(settings))
    if json:
        print_json(board)
    else:
        out.print(render(board))
    raise typer.Exit(0 if board.kept else 1)


async def board_of(settings: Settings) -> Board:
    """The table of the running daemon; where none answers, of a look of our own.

    Raises:
        CustodeError: the daemon refuses us, or the rules cannot be used.
    """
    try:
        async with reach(settings, None) as client:
            return parsed(_BOARD, await client.get("status"))
    except NoDaemonError as error:
        err.print(f"{error.message}, so this is a look of our own", style="dim", markup=False, soft_wrap=True)
    from daemon.app import Custode  # most of what there is: other commands shall start without it

    board, _ = await Custode(settings).look_once()
    return board


def register(app: typer.Typer) -> None:
    app.command("status")(status)
