"""The command line: one file a command."""

from daemon.cli._main import main

__all__ = ["main"]
