"""Judge every cell of the table: a pure function of the rules' alerts and the answers to queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from daemon.status._promises import PROMISES, Promise, Query


class State(StrEnum):
    KEPT = "kept"
    PENDING = "pending"  # a rule's condition holds, not yet for long enough
    BROKEN = "broken"
    UNKNOWN = "unknown"  # promised, but nothing is known: never shown as kept
    NOT_PROMISED = "not promised"

    __hash__ = str.__hash__  # a member's own asks for its name each time

    @property
    def sign(self) -> str:
        """For those who do not see the colour."""
        return _SIGNS[self]


_SIGNS: Mapping[State, str] = {
    State.KEPT: "✓",
    State.PENDING: "…",
    State.BROKEN: "✗",
    State.UNKNOWN: "?",
    State.NOT_PROMISED: "–",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """What the table needs of a pending or firing alert. `since` is in unix seconds, `fingerprint` names its page."""

    name: str
    environment: str
    promise: str
    severity: str
    firing: bool
    since: float
    summary: str
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """`alert` is the fingerprint of the worst alert that says so."""

    promise: str
    state: State
    text: str
    since: float | None = None
    alert: str = ""


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
    troubles: dict[tuple[str, str], list[Alert]] = {}
    for alert in known:
        troubles.setdefault((alert.promise, alert.environment), []).append(alert)
    asked = cache(query)  # several promises are made with the same
    columns = [_column(promise, tiers, troubles, asked) for promise in PROMISES]
    rows = (
        Row(environment, tier, tuple(column[environment] for column in columns)) for environment, tier in tiers.items()
    )
    return Board(now, tuple(rows), tuple(known))


def _column(
    promise: Promise, tiers: Iterable[str], alerts: Mapping[tuple[str, str], Sequence[Alert]], query: Query
) -> dict[str, Cell]:
    made = query(promise.made)
    answers = {name: query(expression) for name, expression in promise.facts.items()}
    cells = {}
    for environment in tiers:
        troubles = alerts.get((promise.name, environment), ())
        if troubles:
            worst = troubles[0]
            more = f" (+{len(troubles) - 1})" if len(troubles) > 1 else ""
            state = State.BROKEN if worst.firing else State.PENDING
            cells[environment] = Cell(promise.name, state, worst.summary + more, worst.since, worst.fingerprint)
        elif environment not in made:
            cells[environment] = Cell(promise.name, State.NOT_PROMISED, "")
        else:
            facts = {name: answer[environment] for name, answer in answers.items() if environment in answer}
            try:
                cells[environment] = Cell(promise.name, State.KEPT, promise.say(facts))
            except KeyError:
                cells[environment] = Cell(promise.name, State.UNKNOWN, "not known")
    return cells
