"""The commands that ask a daemon, as an application of their own: `python -m` runs it as a process."""

from __future__ import annotations

import sys

import typer

from daemon.cli import _act, _actions, _ledger, _stop_actions
from daemon.cli._console import print_error
from fleet.errors import CustodeError

app = typer.Typer(pretty_exceptions_enable=False)
for command in (_act, _actions, _ledger, _stop_actions):
    command.register(app)


def main() -> None:
    try:
        app()
    except CustodeError as error:
        print_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
