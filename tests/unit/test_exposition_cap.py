from __future__ import annotations

import pytest

from collectors import Family, Rows, gauge
from daemon.exposition import cap, series

ONE = Family(("name",), (gauge("one", "One."),))
TWO = Family(("name",), (gauge("two_a", "A."), gauge("two_b", "B.")))


def names(rows: list[Rows]) -> list[list[str]]:
    return [[record[0] for record in part.records] for part in rows]


def test_series_are_values_that_are_known() -> None:
    assert series([TWO.rows([("a", 1, None), ("b", 0, 0)]), ONE.rows([(None, 1)])]) == 4


def test_nothing_is_dropped_within_the_limit() -> None:
    rows = [TWO.rows([("a", 1, None), ("b", 1, 1)])]
    assert cap(rows, 3) == (rows, 0)


def test_the_last_go_first_and_kept_ones_never() -> None:
    rows = [
        ONE.rows([("a", 1), ("b", 1), ("c", 1), ("d", 1)], keep=1),
        TWO.rows([("kept", 1, 1), ("e", 1, 1)], keep=1),
    ]
    kept, dropped = cap(rows, 5)
    assert names(kept) == [["a", "b", "c"], ["kept"]]
    assert dropped == 3
    kept, dropped = cap(rows, 1)
    assert names(kept) == [["a"], ["kept"]]
    assert dropped == 5


def test_repeated_label_sets_are_left_out_and_counted() -> None:
    rows = [ONE.rows([("a", 1), ("a", 2), ("b", 3)], keep=2), ONE.rows([("b", 4), ("c", 5)])]
    kept, dropped = cap(rows, 100)
    assert [part.records for part in kept] == [[("a", 1), ("b", 3)], [("c", 5)]]
    assert [part.keep for part in kept] == [1, 0]
    assert dropped == 2


def test_a_record_of_another_width_is_an_error_that_names_the_family() -> None:
    with pytest.raises(ValueError, match=r"3 values instead of 2: name, custode_one"):
        cap([ONE.rows([("a", 1, 2)])], 10)
