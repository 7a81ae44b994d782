"""`custode healthy`: whether the daemon of this machine lives, for supervisors that ask every few seconds."""

from __future__ import annotations

import os
import socket
import sys
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated

import typer
import yaml

from daemon.cli._console import ConfigOption, config_path
from daemon.data_dir import SOCKET_NAME, default_data_dir

_ANSWER_SECONDS = 4.0


def healthy(
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether everything has been looked at once, too.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Ask the daemon whether it lives, over its control socket, whatever address and TLS it serves.

    Exit status 1: it does not, or is not ready.
    """
    data_dir = _data_dir(config_path(config))
    try:
        status, said = _ask(data_dir, "/-/ready" if ready else "/-/healthy")
    except (OSError, HTTPException) as error:
        status, said = 0, f"no daemon answers at {data_dir / SOCKET_NAME}: {error}"
    print(said, file=sys.stdout if status == 200 else sys.stderr)
    raise typer.Exit(0 if status == 200 else 1)


def _data_dir(path: Path) -> Path:
    """Read without judging the rest: that takes a second, and a daemon outlives a file that was broken since."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))["data_dir"]
        return path.absolute().parent / Path(str(found)).expanduser()
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return default_data_dir()


def _ask(data_dir: Path, path: str) -> tuple[int, str]:
    os.chdir(data_dir)  # the path of a socket holds 107 bytes
    connection = HTTPConnection("custode")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(_ANSWER_SECONDS)
    try:
        connection.sock.connect(SOCKET_NAME)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace").strip()
    finally:
        connection.close()


def register(app: typer.Typer) -> None:
    app.command("healthy")(healthy)
