"""The whole command, as nobody calls it: each of its commands is imported where it is asked for."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from daemon.cli._main import build


def _command(name: str) -> Any:
    root: Any = get_command(build([name]))
    return root.commands[name]


ROOT: Any = get_command(build([]))
SUMMARIES: dict[str, str] = {name: command.help for name, command in ROOT.commands.items()}
ROOT.commands |= {name: _command(name) for name in SUMMARIES}
