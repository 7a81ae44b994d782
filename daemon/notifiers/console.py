"""Print messages where the daemon runs: one line each, its details dimmed below."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from rich.console import Console
from rich.text import Text

from daemon.notifiers._notifier import Message, Notifier, Receipt, Retryable, Severity
from fleet.secrets import Secrets

_TROUBLE = {Severity.CRITICAL: ("✖", "bold red"), Severity.WARNING: ("▲", "red"), Severity.GOOD: ("✔", "green")}
_CALM = {"alert": ("●", "yellow"), "action": ("▶", "blue"), "config": ("●", "cyan"), "daemon": ("●", "cyan")}
_INDENT = " " * 11


class ConsoleNotifier(Notifier):
    """Colours where a terminal shows them (never with NO_COLOR set); plain lines in a file or pipe."""

    name = "console"
    summary = "lines on the daemon's own terminal"
    hears_muted = True

    def __init__(self, options: Notifier.Options, secrets: Secrets, console: Console | None = None) -> None:
        del options, secrets
        self._console = console or Console(highlight=False)

    async def send(self, message: Message) -> Receipt:
        lines = Text("\n").join(_lines(message))
        try:
            # a terminal stopped with Ctrl-S blocks whoever writes to it
            await asyncio.to_thread(self._console.print, lines, soft_wrap=True)
        except OSError as error:
            raise Retryable(f"the terminal cannot be written: {error}") from error
        return Receipt("console")


def _lines(message: Message) -> list[Text]:
    sign, style = _TROUBLE.get(message.severity) or _CALM[message.kind]
    at = datetime.fromtimestamp(message.at, UTC).astimezone()
    first = Text.assemble((f"{at:%H:%M:%S} ", "dim"), (f"{sign} ", style))
    if message.environment is not None:
        first.append(f"{_printable(message.environment)}  ", "bold")
    first.append(_printable(message.title), style)
    details = [message.text] if message.text else []
    in_words = message.kind == "alert" and message.text  # an alert's description names what its labels hold
    if message.fields and not in_words:
        details.append("  ".join(f"{name}={value}" for name, value in message.fields.items()))
    return [first, *(Text(_INDENT + _printable(detail), "dim") for detail in details)]


def _printable(text: str) -> str:
    """One line without control, escape and direction signs: names of tables are whatever somebody called them."""
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in text
    )
