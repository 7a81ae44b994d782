"""Consoles and output shapes shared by the commands."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from fleet.errors import CustodeError

_BROKEN_PIPE = 141  # what a shell says of a process that SIGPIPE ended
_PIPED_COLUMNS = 200  # of a table that a file or program gets: lines are not cut where a terminal would end


class _Output(Console):
    def on_broken_pipe(self) -> None:
        leave_pipe()


def leave_pipe() -> NoReturn:
    """Exit without a word because nobody reads what we print, as other programs do."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_BROKEN_PIPE)


out = _Output(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPED_COLUMNS)
err = _Output(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="CUSTODE_CONFIG",
        help="The configuration file [default: ./custode.yml, then /etc/custode/custode.yml].",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs to read.")]


def config_path(given: Path | None) -> Path:
    """The configuration to use: the one given, else the first of the usual places that exists."""
    places = [Path("custode.yml"), Path("/etc/custode/custode.yml")]
    return given or next((place for place in places if place.exists()), places[0])


def print_json(value: Any) -> None:
    """Print dataclasses, models and plain values as JSON."""
    out.print_json(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def print_error(error: CustodeError) -> None:
    """Code, message and hint of an error, on stderr."""
    text = Text(f"error {error.code}: ", style="bold red").append(error.message, style="none")
    if error.hint:
        text.append(f"\n  hint: {error.hint}", style="cyan")
    err.print(text, soft_wrap=True)
