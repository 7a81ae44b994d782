"""`custode run`: guard the fleet until told to stop."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from daemon.app import Custode
from daemon.cli._console import ConfigOption, config_path, out
from daemon.config import load
from daemon.logs import configure_logs


def run(
    config: ConfigOption = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen on an address that others reach although anybody could read.")
    ] = False,
) -> None:
    """Guard the fleet until SIGINT or SIGTERM; SIGHUP reads the configuration again."""
    settings = load(config_path(config))
    configure_logs(settings.log)
    asyncio.run(Custode(settings, insecure=insecure).run(lambda address: out.print(address, highlight=False)))


def register(app: typer.Typer) -> None:
    app.command("run")(run)
