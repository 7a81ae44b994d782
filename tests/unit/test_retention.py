"""Which rows keep others, as conditions, and how the pace of deleting follows what is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from actions._retention import Link, RowTable, Rules
from actions._retention_delete import Pace
from fleet.errors import ActionError

DAY = 86400.0
NOW = 1_700_000_000.0
REFERS = Link(2, "b", "c", False, ("a_id",), ("id",), None)
A = RowTable(
    ("public", "a"), "app", "public", "a", 1, "a", "at", "date", 90 * DAY, 0.0, 0.0, True, False, None, (REFERS,)
)
B = replace(A, rule=("public", "b"), relname="b", quoted="b", oid=2, links=())


def rules(*tables: RowTable) -> Rules:
    return Rules(NOW, {table.oid: table for table in tables})


def test_ages_are_compared_in_utc() -> None:
    limit = "to_timestamp(1692224000.000000)"
    assert A.expired("t", NOW) == f"t.at < ({limit} at time zone 'UTC')::date"
    assert replace(A, type="timestamp with time zone").expired("t", NOW) == f"t.at < {limit}"


def test_a_cascade_takes_what_is_kept_no_longer() -> None:
    assert rules(A, B).may_go(A, "t") == "true"
    assert [one.table for one in rules(A, B).clearing(A, "true")] == [B]


@pytest.mark.parametrize(
    "child",
    [None, replace(B, keep=91 * DAY), replace(B, obstacle="is strange")],
    ids=["undecided", "longer", "strange"],
)
def test_all_else_keeps_the_row(child: RowTable | None) -> None:
    known = rules(A, child) if child is not None else rules(A)
    assert known.may_go(A, "t").startswith("not exists (select from b tr where tr.a_id = t.id and not (")
    assert not known.clearing(A, "true")


def test_no_action_takes_only_what_is_old_itself() -> None:
    parent = replace(A, links=(replace(REFERS, deletes="a"),))
    assert f"not ({B.expired('tr', NOW)} and true)" in rules(parent, B).may_go(parent, "t")


def test_what_refers_comes_first_and_a_circle_is_refused() -> None:
    assert rules(A, B).in_order() == [B, A]
    circle = replace(B, links=(replace(REFERS, child_oid=1, child="a"),))
    with pytest.raises(ActionError, match="refer to each other"):
        rules(A, circle).in_order()


def test_obstacles_of_what_goes_along_count() -> None:
    slow = replace(B, links=(replace(REFERS, child_oid=3, child="c", obstacle="without an index"),))
    assert rules(A, B).obstacle(A) is None
    assert rules(A, slow).obstacle(A) == "c refers to b without an index"


def test_the_pace_follows_the_server() -> None:
    pace = Pace(share=0.5, most_lag_bytes=0.0, rows=100)
    pace.learn(0.001, full=True)
    assert pace.rows == 200, "twice as many at most"
    pace.learn(0.001, full=False)
    assert pace.rows == 200, "a small batch shows nothing"
    pace.learn(1.0, full=False)
    assert pace.rows == 100
    for _ in range(9):
        pace.give_way()
    assert pace.rows == 1
