"""GET /: the fleet as a table, environments by promises, and above it what needs somebody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from aiohttp import web
from markupsafe import Markup

from daemon.actions.views import RunFilter, RunState
from daemon.page.frame import Frame
from daemon.page.rows import Rows
from daemon.page.sources import Sources
from daemon.status import PROMISES, Alert, Board, Row, State
from daemon.web.access import Role
from daemon.web.routes import Route
from fleet.errors import CustodeError

SEVERITIES = ("critical", "warning", "info", "other")
WORST = (State.BROKEN, State.UNKNOWN, State.PENDING)
SHOWN_ALERTS = 8
_COUNTED_RUNS = 100


@dataclass(frozen=True)
class Summary:
    """What stands above the table."""

    board: Board

    @cached_property
    def environments(self) -> Counter[State]:
        """How many environments are how, each as its worst promise."""
        return Counter(map(worst, self.board.rows))

    @property
    def green(self) -> int:
        return self.environments[State.KEPT] + self.environments[State.NOT_PROMISED]

    @cached_property
    def firing(self) -> list[Alert]:
        return [alert for alert in self.board.alerts if alert.firing]

    @cached_property
    def severities(self) -> Counter[str]:
        """How many alerts fire, by severity; `other` are those of no severity that we know."""
        return Counter(one.severity if one.severity in SEVERITIES else SEVERITIES[-1] for one in self.firing)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to show: those of a tier, in a state, with a piece in their name; `order` worst or as configured."""

    tier: str = ""
    state: str = ""
    q: str = ""
    order: str = ""

    @classmethod
    def of(cls, request: web.Request) -> Filter:
        return cls(*(request.query.get(name, "").strip()[:200] for name in ("tier", "state", "q", "order")))

    def rows(self, board: Board) -> Sequence[Row]:
        found = [row for row in board.rows if self._wants(row)]
        return sorted(found, key=_weight) if self.order == "worst" else found

    def _wants(self, row: Row) -> bool:
        return (
            (not self.tier or row.tier == self.tier)
            and (not self.state or self._is(row))
            and self.q.lower() in row.environment.lower()
        )

    def _is(self, row: Row) -> bool:
        if self.state == "trouble":
            return worst(row) in WORST
        if self.state == State.KEPT.value:
            return worst(row) not in WORST
        return any(cell.state.value == self.state for cell in row.cells)


def worst(row: Row) -> State:
    """The state that says most about an environment."""
    states = {cell.state for cell in row.cells}
    return next((state for state in (*WORST, State.KEPT) if state in states), State.NOT_PROMISED)


def _weight(row: Row) -> tuple[int, ...]:
    states = Counter(cell.state for cell in row.cells)
    return tuple(-states[state] for state in WORST)


def _mark(state: State) -> Markup:
    """How a cell begins; those who do not see the table hear the state in words."""
    said = "" if state is State.NOT_PROMISED else ": "
    return Markup('<b class="sign" aria-hidden="true">{}</b>&nbsp;<span class="sr">{}{}</span>').format(
        state.sign, state.value, said
    )


def routes(sources: Sources, frame: Frame) -> list[Route]:
    frame.globals["marks"] = {state: (state.value.replace(" ", "-"), _mark(state)) for state in State}

    rows = Rows(frame)

    async def counted(state: RunState) -> str:
        try:
            found = len(await sources.port.runs(RunFilter(states=(state,), limit=_COUNTED_RUNS)))
        except CustodeError:
            return "?"
        return f"{found}+" if found == _COUNTED_RUNS else str(found)

    async def overview(request: web.Request) -> web.Response:
        seen, wanted = await sources.board(), Filter.of(request)
        return await frame.page(
            request,
            "overview.html",
            board=seen,
            summary=Summary(seen),
            wanted=wanted,
            rows=await rows.html(wanted.rows(seen), sources.now()),
            tiers=sorted({row.tier for row in seen.rows}),
            promises=PROMISES,
            severities=SEVERITIES,
            shown_alerts=SHOWN_ALERTS,
            running=await counted(RunState.RUNNING),
            waiting=await counted(RunState.WAITING),
        )

    return [Route("GET", "/", overview, Role.VIEWER, "The fleet: what is promised, and whether it is kept")]
