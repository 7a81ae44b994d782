"""The fleet as the guide's table: environments × promises, kept or not, and why."""

from daemon.status._board import Alert, Board, Cell, Row, State, make_board
from daemon.status._latest import LatestBoard
from daemon.status._promises import PROMISES, Fact, Promise, Query

__all__ = [
    "PROMISES",
    "Alert",
    "Board",
    "Cell",
    "Fact",
    "LatestBoard",
    "Promise",
    "Query",
    "Row",
    "State",
    "make_board",
]
