"""Judge every cell of the table: a pure function of the rules' alerts and the answers to queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from daemon.status._promises import PROMISES, Promise, Query


class State(StrEnum):
    KEPT = "kept"
    PENDING = "pending"  # a rule's condition holds, not yet for long enough
    BROKEN = "broken"
    UNKNOWN = "unknown"  # promised, but nothing is known: never shown as kept
    NOT_PROMISED = "not promised"


@dataclass(frozen=True, slots=True)
class Alert:
    """What the table needs of a pending or firing alert. `since` is in unix seconds."""

    name: str
    environment: str
    promise: str
    severity: str
    firing: bool
    since: float
    summary: str


@dataclass(frozen=True, slots=True)
class Cell:
    promise: str
    state: State
    text: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    environment: str
    tier: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Board:
    at: float
    rows: tuple[Row, ...]
    alerts: tuple[Alert, ...]

    @property
    def kept(self) -> bool:
        """Whether no promise is broken or unknown."""
        return not any(cell.state in (State.BROKEN, State.UNKNOWN) for row in self.rows for cell in row.cells)


_SEVERITIES = ("critical", "warning", "info")


def _weight(alert: Alert) -> tuple[bool, int, float]:
    rank = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    return (not alert.firing, rank, alert.since)


def make_board(tiers: Mapping[str, str], alerts: Iterable[Alert], query: Query, now: float) -> Board:
    """The table for `tiers` (environment to tier, in the order to show)."""
    known = sorted(alerts, key=_weight)
    columns = [_column(promise, tiers, known, query) for promise in PROMISES]
    rows = (
        Row(environment, tier, tuple(column[environment] for column in columns)) for environment, tier in tiers.items()
    )
    return Board(now, tuple(rows), tuple(known))


def _column(promise: Promise, tiers: Iterable[str], alerts: Sequence[Alert], query: Query) -> dict[str, Cell]:
    made = query(promise.made)
    answers = {name: query(expression) for name, expression in promise.facts.items()}
    cells = {}
    for environment in tiers:
        troubles = [a for a in alerts if a.environment == environment and a.promise == promise.name]
        facts = {name: answer[environment] for name, answer in answers.items() if environment in answer}
        if troubles:
            worst = troubles[0]
            more = f" (+{len(troubles) - 1})" if len(troubles) > 1 else ""
            state = State.BROKEN if worst.firing else State.PENDING
            cells[environment] = Cell(promise.name, state, worst.summary + more, worst.since)
        elif environment not in made:
            cells[environment] = Cell(promise.name, State.NOT_PROMISED, "")
        else:
            try:
                cells[environment] = Cell(promise.name, State.KEPT, promise.say(facts))
            except KeyError:
                cells[environment] = Cell(promise.name, State.UNKNOWN, "not known")
    return cells
