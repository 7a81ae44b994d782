"""`custode status`: the fleet as a table, from the running daemon where there is one."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import typer
from pydantic import TypeAdapter, ValidationError

from daemon.cli._client import url_of
from daemon.cli._console import ConfigOption, JsonOption, config_path, err, out, print_json
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.status import Board
from daemon.status.render import render

_ANSWER_SECONDS = 5.0


def status(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show environments × promises: kept or not, with the figures, and why not. Exit status 1 if one is broken."""
    settings = load(config_path(config))
    configure_logs(LogSettings(level="error"))
    board = asyncio.run(_board(settings))
    if json:
        print_json(board)
    else:
        out.print(render(board))
    raise typer.Exit(0 if board.kept else 1)


async def _board(settings: Settings) -> Board:
    url = url_of(settings.listen)
    try:
        return await ask(url)
    except (aiohttp.ClientError, TimeoutError, ValidationError):
        err.print(f"no daemon answers at {url}, so this is a look of our own", style="dim")
    from daemon.app import Custode  # most of what there is: other commands shall start without it

    board, _ = await Custode(settings).look_once()
    return board


async def ask(url: str) -> Board:
    """The table of the daemon at `url`.

    Raises:
        aiohttp.ClientError, TimeoutError: nobody answers, or with an error.
        ValidationError: who answers is no Custode that we understand.
    """
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
        session.get(f"{url}/api/v1/status") as response,
    ):
        answer: dict[str, Any] = await response.json()
    return TypeAdapter(Board).validate_python(answer.get("data"))


def register(app: typer.Typer) -> None:
    app.command("status")(status)
