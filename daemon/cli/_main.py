"""The application, and the one place where an error becomes a text and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from daemon.cli._complete import words as words_of
from daemon.cli._console import leave_pipe, print_error
from daemon.cli._manual import add_epilogs
from fleet.errors import CustodeError

# each in a module of its own, which is called as the command is; all of them take more than a second to import
_COMMANDS: Mapping[str, str] = {
    "run": "Guard the fleet until SIGINT or SIGTERM.",
    "once": "Read every environment once, and show what is kept.",
    "status": "Show which promises are kept, and why others are not.",
    "healthy": "Ask whether the daemon lives.",
    "backup": "Take a backup now, whatever the schedule says.",
    "backups": "Look at what is backed up, and at what becomes of it.",
    "restore": "Restore a backup into a new database.",
    "recover": "Put the newest good backup in place of a damaged database.",
    "migrate": "Upgrade a database: checked, rehearsed, backed up.",
    "schema": "Look at the schemas: revisions, drift, and what to do.",
    "index": "Look at the vector indexes, and at what to do about them.",
    "data": "Copy production's data without anybody's personal data.",
    "cleanup": "Delete rows past their time, in small batches.",
    "disk": "Show how full the disks are, and what would free room.",
    "reset": "Make a database anew, with the policy's test data.",
    "act": "Ask the daemon for an action.",
    "actions": "Look at actions, answer them, and take them in hand.",
    "stop-actions": "Stop all actions, on every daemon.",
    "silence": "Silence alerts, here and in Alertmanager.",
    "ledger": "Print who did or was refused what, and when.",
    "list": "List collectors, rules, actions and other plugins.",
    "check": "Check the configuration.",
    "doctor": "Look for the usual mistakes, everywhere, and say what to do.",
    "service": "Print a hardened systemd unit for this installation.",
    "token": "Print a new token, with what to write into custode.yml.",
    "rules": "Check rule files, and run their unit tests.",
    "state": "Look at the state database, or migrate it.",
    "demo": "Guard four PostgreSQL servers with planted trouble.",
}


def build(words: Sequence[str]) -> typer.Typer:
    """The application with the command that `words` call; without one, what its help says of each."""
    app = typer.Typer(
        name="custode",
        help="Keeps fleets of PostgreSQL + pgvector environments backed up, in step and healthy.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    name = next((word for word in words if not word.startswith("-")), "")
    if name in _COMMANDS:
        import_module(f"daemon.cli._{name.replace('-', '_')}").register(app)
        add_epilogs(app)
        return app
    for name, summary in _COMMANDS.items():
        app.command(name, help=summary)(_options)
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
