"""`custode once`: read every environment once, judge, and say what is wrong."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from daemon.app import Custode
from daemon.cli._console import ConfigOption, JsonOption, config_path, out, print_json
from daemon.config import LogSettings, load
from daemon.logs import configure_logs
from daemon.status.render import render


def once(
    config: ConfigOption = None,
    json: JsonOption = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="Print the metrics instead of the table.")] = False,
) -> None:
    """Read every environment once and print what is promised and whether it is kept. Acts on nothing."""
    configure_logs(LogSettings(level="error"))
    board, page = asyncio.run(Custode(load(config_path(config))).look_once())
    if metrics:
        sys.stdout.write(page.decode())
    elif json:
        print_json(board)
    else:
        out.print(render(board))
    raise typer.Exit(0 if board.kept else 1)


def register(app: typer.Typer) -> None:
    app.command("once")(once)
