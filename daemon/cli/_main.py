"""The application, and the one place where an error becomes a text and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli._complete import words as words_of
from daemon.cli._console import leave_pipe, print_error
from daemon.cli._manual import add_epilogs
from fleet.errors import CustodeError

# each in a module of its own, which is called as the command is
_COMMANDS = (
    "run",
    "once",
    "status",
    "healthy",
    "backup",
    "backups",
    "restore",
    "recover",
    "migrate",
    "schema",
    "index",
    "data",
    "cleanup",
    "disk",
    "reset",
    "act",
    "actions",
    "stop-actions",
    "silence",
    "ledger",
    "list",
    "check",
    "doctor",
    "service",
    "token",
    "rules",
    "state",
    "demo",
)


def build(words: Sequence[str]) -> typer.Typer:
    """The application; where `words` begin with a command, with that alone: all of them take a second to import."""
    app = typer.Typer(
        name="custode",
        help="Keeps fleets of PostgreSQL + pgvector environments backed up, in step and healthy.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    for name in [name for name in _COMMANDS if name in words[:1]] or _COMMANDS:
        import_module(f"daemon.cli._{name.replace('-', '_')}").register(app)
    add_epilogs(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"custode {version('custode')}")  # noqa: T201 - what was asked for
        raise typer.Exit


def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command and exit with one of `_manual.EXIT_STATUS`."""
    printed = sys.stdout
    try:
        try:
            build(words_of(os.environ, sys.argv[1:]))()
        except CustodeError as error:
            print_error(error)
            sys.exit(2)
        except KeyboardInterrupt:  # before the command has begun; typer handles the others
            sys.exit(130)
        finally:
            if sys.stdout is not printed:  # typer has seen a closed pipe, and exits with 1
                leave_pipe()
            printed.flush()  # what a closed pipe does not take is noticed here, not as Python ends
    except BrokenPipeError:
        leave_pipe()
