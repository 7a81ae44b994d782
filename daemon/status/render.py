"""Draw the table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.status._board import Board, Cell, State
from daemon.status._promises import PROMISES, Fact, age

_STYLES: Mapping[State, str] = {
    State.KEPT: "green",
    State.PENDING: "yellow",
    State.BROKEN: "bold red",
    State.UNKNOWN: "magenta",
    State.NOT_PROMISED: "dim",
}
_SEVERITY_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


def render(board: Board) -> RenderableType:
    """The table, then one line for each alert. Names from databases are shown as text, never as markup."""
    table = Table(box=ROUNDED, show_lines=True, title="What is promised, and whether it is kept")
    table.add_column("", no_wrap=True)
    for row in board.rows:
        tier = "" if row.tier == row.environment else f"\n{row.tier}"
        table.add_column(Text(row.environment, style="bold").append(tier, style="dim"), ratio=1)
    for index, promise in enumerate(PROMISES):
        table.add_row(Text(promise.title), *(_cell(row.cells[index], board.at) for row in board.rows))
    return Group(table, *(_alerts(board)))


def _cell(cell: Cell, now: float) -> Text:
    text = Text(f"{cell.state.sign} ", style=_STYLES[cell.state])
    text.append(cell.text, style=None if cell.state is State.BROKEN else "dim")
    if cell.since is not None and cell.state is State.BROKEN:
        text.append(f" · {age(Fact(now - cell.since, {}))}", style="dim")
    return text


def _alerts(board: Board) -> list[Text]:
    firing = [alert for alert in board.alerts if alert.firing]
    if not firing:
        return [Text("No alert is firing.", style="green")]
    lines = [Text(f"{len(firing)} alert{'s' if len(firing) > 1 else ''} firing", style="bold")]
    for alert in firing:
        line = Text(f"  {alert.severity:<8} ", style=_SEVERITY_STYLES.get(alert.severity, ""))
        line.append(f"{alert.environment:<12} {alert.name:<32} ", style="none").append(alert.summary, style="none")
        lines.append(line)
    return lines
