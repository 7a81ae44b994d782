from collections.abc import Mapping

import pytest
from rich.console import Console

from daemon.status import Alert, Board, Cell, Fact, Query, State, make_board
from daemon.status._promises import age, size
from daemon.status.render import render

TIERS = {"qa": "qa", "production": "production"}
NOW = 1_000_000.0


def answering(**answers: Mapping[str, Fact]) -> Query:
    """A query function that knows some metrics: it answers an expression that ends in one of them."""
    return lambda expression: next(
        (fact for name, fact in answers.items() if expression.rstrip(")").endswith(name)), {}
    )


BACKUPS = answering(
    custode_policy_backup_interval_seconds={"production": Fact(3600, {}), "qa": Fact(86_400, {})},
    custode_backup_recovery_point_timestamp_seconds={"production": Fact(1800, {})},
)


def backup_alert(*, firing: bool = True, severity: str = "critical", summary: str = "no backup for 26h") -> Alert:
    return Alert("BackupTooOld", "production", "backup", severity, firing, NOW - 600, summary)


def backup_cell(board: Board, environment: str) -> Cell:
    row = next(row for row in board.rows if row.environment == environment)
    return next(cell for cell in row.cells if cell.promise == "backup")


def test_a_kept_promise_shows_its_figures() -> None:
    cell = backup_cell(make_board(TIERS, [], BACKUPS, NOW), "production")
    assert (cell.state, cell.text) == (State.KEPT, "30m old, due every 1h")


def test_what_is_promised_and_not_known_is_never_shown_as_kept() -> None:
    board = make_board(TIERS, [], BACKUPS, NOW)
    assert backup_cell(board, "qa").state is State.UNKNOWN
    assert not board.kept


def test_what_is_not_promised_is_neither_kept_nor_broken() -> None:
    board = make_board({"development": "development"}, [], answering(), NOW)
    assert {cell.state for cell in board.rows[0].cells} == {State.NOT_PROMISED}
    assert board.kept


def test_the_worst_alert_speaks_for_its_cell_and_the_others_are_counted() -> None:
    alerts = [backup_alert(severity="warning", summary="small"), backup_alert(), backup_alert(firing=False)]
    cell = backup_cell(make_board(TIERS, alerts, BACKUPS, NOW), "production")
    assert (cell.state, cell.text, cell.since) == (State.BROKEN, "no backup for 26h (+2)", NOW - 600)


def test_a_pending_alert_is_shown_as_pending() -> None:
    cell = backup_cell(make_board(TIERS, [backup_alert(firing=False)], BACKUPS, NOW), "production")
    assert cell.state is State.PENDING


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59, "59s"), (332, "5m32s"), (7260, "2h1m"), (93_784, "1d2h3m"), (864_000, "10d")]
)
def test_ages_read_well(seconds: float, text: str) -> None:
    assert age(Fact(seconds, {})) == text


def test_sizes_are_in_binary_units() -> None:
    assert [size(Fact(n, {})) for n in (512, 2048, 5 * 2**30, 3 * 2**40)] == ["512 B", "2 KiB", "5 GiB", "3.0 TiB"]


def test_names_from_databases_are_text_not_markup() -> None:
    console = Console(width=140, color_system=None)
    board = make_board(TIERS, [backup_alert(summary="[red]table[/] <!channel>")], BACKUPS, NOW)
    with console.capture() as captured:
        console.print(render(board))
    assert "[red]table[/] <!channel>" in captured.get()
