"""The application, and the one place where an error becomes a text and an exit status."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli import _check, _demo, _list, _once, _rules, _run, _status
from daemon.cli._console import print_error
from fleet.errors import CustodeError

app = typer.Typer(
    name="custode",
    help="Keeps fleets of PostgreSQL + pgvector environments backed up, in step and healthy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (_run, _once, _status, _list, _check, _rules, _demo):
    command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"custode {version('custode')}")  # noqa: T201 - what was asked for
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command. Exit status: 0 well, 1 something is wrong with the fleet, 2 with the request or the setup."""
    try:
        app()
    except CustodeError as error:
        print_error(error)
        sys.exit(2)
