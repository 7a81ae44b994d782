"""`custode service`: the systemd unit of this installation."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from daemon.service import unit_text


def service() -> None:
    """Print a hardened systemd unit that runs the command of this installation; its head says how to install it."""
    sys.stdout.write(unit_text(Path(sys.argv[0]).absolute()))


def register(app: typer.Typer) -> None:
    app.command("service")(service)
