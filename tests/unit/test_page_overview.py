"""What of the fleet is shown, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from daemon.page.overview import Filter, Summary, worst
from daemon.status import Alert, Board, Cell, LatestBoard, Row, State

KEPT, BROKEN, PENDING = State.KEPT, State.BROKEN, State.PENDING
UNKNOWN, NOT = State.UNKNOWN, State.NOT_PROMISED


def row(name: str, *states: State, tier: str = "qa") -> Row:
    return Row(name, tier, tuple(Cell(f"p{n}", state, "") for n, state in enumerate(states)))


def alert(severity: str, *, firing: bool = True) -> Alert:
    return Alert("A", "one", "p0", severity, firing, 1.0, "it is wrong")


BOARD = Board(
    1.0,
    (
        row("green", KEPT, KEPT),
        row("one", KEPT, BROKEN),
        row("soon", PENDING, KEPT, tier="production"),
        row("two", BROKEN, BROKEN),
        row("dark", UNKNOWN, KEPT),
        row("free", NOT, NOT),
    ),
    (alert("critical"), alert("warning"), alert("warning"), alert("page"), alert("info", firing=False)),
)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(), "green one soon two dark free"),
        (Filter(order="worst"), "two one dark soon green free"),
        (Filter(state="trouble"), "one soon two dark"),
        (Filter(state="broken", order="worst"), "two one"),
        (Filter(state="kept"), "green free"),
        (Filter(state="unknown"), "dark"),
        (Filter(tier="production"), "soon"),
        (Filter(q="E"), "green one free"),
        (Filter(q="%"), ""),
        (Filter(state="nonsense"), ""),
    ],
)
def test_rows_that_are_wanted(wanted: Filter, names: str) -> None:
    assert " ".join(row.environment for row in wanted.rows(BOARD)) == names


def test_environments_count_as_their_worst_promise() -> None:
    summary = Summary(BOARD)
    assert summary.environments == {BROKEN: 2, UNKNOWN: 1, PENDING: 1, KEPT: 1, NOT: 1}
    assert summary.green == 2
    assert worst(row("x", NOT, KEPT)) is KEPT


def test_alerts_that_fire_count_by_severity() -> None:
    summary = Summary(BOARD)
    assert len(summary.firing) == 4
    assert summary.severities == {"critical": 1, "warning": 2, "other": 1}


@dataclass
class Maker:
    """Makes tables that are numbered by `at`, as soon as it may."""

    time: float = 0.0
    made: int = 0
    error: Exception | None = None
    may: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> Board:
        await self.may.wait()
        if self.error:
            raise self.error
        self.made += 1
        return Board(float(self.made), (), ())


@pytest.fixture
async def maker() -> Maker:
    return Maker()


@pytest.fixture
async def latest(maker: Maker) -> AsyncIterator[LatestBoard]:
    latest = LatestBoard(maker, lambda: maker.time)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(latest.serve())
        yield latest
        serving.cancel()


async def test_a_table_is_made_once_for_all_who_look_at_the_same_time(maker: Maker, latest: LatestBoard) -> None:
    maker.may.set()
    first = await asyncio.gather(*(latest() for _ in range(5)))
    assert [board.at for board in first] == [1.0] * 5
    maker.time = 0.4
    assert (await latest()).at == 1.0
    maker.time = 0.6
    assert (await latest()).at == 2.0


async def test_while_a_table_takes_long_the_one_before_is_shown(maker: Maker, latest: LatestBoard) -> None:
    maker.may.set()
    await latest()
    maker.may.clear()
    maker.time = 1.0
    assert (await latest()).at == 1.0
    maker.may.set()
    await asyncio.sleep(0)
    assert (await latest()).at == 2.0


async def test_why_there_is_no_table_is_told(maker: Maker, latest: LatestBoard) -> None:
    maker.may.set()
    maker.error = RuntimeError("no")
    with pytest.raises(RuntimeError):
        await latest()
    maker.error = None
    assert (await latest()).at == 1.0
