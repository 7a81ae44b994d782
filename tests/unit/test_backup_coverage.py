"""How far backups reach back, where not each holds all databases."""

from __future__ import annotations

import pytest

from fleet.backups import DatabaseDump, Manifest
from fleet.backups.coverage import coverage


def backup(at: float, *names: str) -> Manifest:
    dumps = tuple(DatabaseDump(name=name, key="k", size_bytes=1, plain_bytes=1, sha256="00") for name in names)
    return Manifest(
        id=f"b{at:.0f}", environment="qa", started_at=at, finished_at=at + 5, succeeded=True, databases=dumps
    )


NIGHTLY = [backup(100, "a", "b"), backup(200, "a", "b")]


@pytest.mark.parametrize("databases", [None, ["a", "b"]])
def test_one_of_one_database_does_not_speak_for_the_others(databases: list[str] | None) -> None:
    reach = coverage([*NIGHTLY, backup(300, "a"), backup(400, "a")], databases, 500)
    assert reach is not None
    assert (reach.recovery_point, reach.last_success) == (200, 205)
    assert reach.last.id == "b200"
    assert [one.id for one in reach.alike] == ["b100"]


def test_each_in_a_backup_of_its_own() -> None:
    reach = coverage([backup(100, "a"), backup(200, "b"), backup(300, "a")], ["a", "b"], 500)
    assert reach is not None
    assert (reach.recovery_point, reach.last.id) == (200, "b300")


def test_a_database_that_is_gone_is_not_missed_and_one_that_is_new_is_in_the_next() -> None:
    reach = coverage([*NIGHTLY, backup(300, "a")], ["a", "new"], 500)
    assert reach is not None
    assert (reach.recovery_point, reach.last.id) == (300, "b300")


def test_one_dated_later_than_now_counts_only_where_there_is_nothing_else() -> None:
    ahead = backup(9000, "a", "b")
    for good, expected in (([*NIGHTLY, ahead], 200), ([ahead], 9000)):
        reach = coverage(good, None, 500)
        assert reach is not None
        assert reach.recovery_point == expected


def test_nothing_reaches_nowhere() -> None:
    assert coverage([], None, 500) is None
    empty = coverage([backup(100)], None, 500)
    assert empty is not None
    assert empty.recovery_point == 100
