"""`custode doctor`: one report that finds the usual mistakes."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from daemon.check import Notes, Report, check_connect, check_machine, check_offline, check_services
from daemon.cli._check import print_report
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, config_path, print_json
from daemon.cli._status import board_of
from daemon.config import LogSettings, Settings, load
from daemon.logs import configure_logs
from daemon.status import State
from fleet.errors import CustodeError

EnvironmentOption = Annotated[
    str | None, typer.Option(autocompletion=environments, help="This one alone, beside the machine [default: all].")
]


def doctor(environment: EnvironmentOption = None, json: JsonOption = False, config: ConfigOption = None) -> None:
    """Look for the usual mistakes, everywhere, and say what to do. Exit status 1: something must be mended.

    It is custode check --connect, and more: the daemon and its state, room and limits of this machine, every store
    (a small object is written, read back and deleted), notifiers (nobody is notified), Alertmanagers, settings, rights
    and extensions of every server, and the promises that are broken now, as custode status tells them.
    """
    configure_logs(LogSettings(level="error"))
    settings = load(config_path(config))
    if environment is not None:
        if environment not in settings.environments:
            raise typer.BadParameter(f"there is no environment {environment}", param_hint="--environment")
        settings = settings.model_copy(update={"environments": {environment: settings.environments[environment]}})
    report = asyncio.run(_examine(settings))
    if json:
        print_json({"findings": report.findings})
    else:
        print_report(report.findings)
    raise typer.Exit(report.exit_code)


async def _examine(settings: Settings) -> Report:
    machine = await asyncio.to_thread(check_machine, settings, os.environ)
    services, offline, connected = await asyncio.gather(
        check_services(settings), check_offline(settings), check_connect(settings, deep=True)
    )
    here = Report((*machine.findings, *services.findings))
    return here + offline + connected + await _promises(settings)


async def _promises(settings: Settings) -> Report:
    """What is broken now, by the daemon that runs, else by a look of our own."""
    notes = {name: Notes(name) for name in settings.environments}
    try:
        board = await board_of(settings)
    except CustodeError as error:
        failed = Notes()
        failed.error("promises", error.message, error.hint)
        return Report(tuple(failed.findings))
    for alert in board.alerts:
        if alert.environment in notes and alert.firing and alert.severity != "none":
            tell = notes[alert.environment].warning if alert.severity == "info" else notes[alert.environment].error
            tell(
                f"promise {alert.promise}" if alert.promise else "alert",
                alert.summary,
                f"see {alert.name} in the README",
            )
    for row in board.rows:
        unknown = [cell.promise for cell in row.cells if cell.state is State.UNKNOWN]
        if unknown and row.environment in notes:
            notes[row.environment].error("promises", f"not known: {', '.join(unknown)}", "custode check --connect")
    return Report(tuple(finding for each in notes.values() for finding in each.findings))


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)
