"""Decisions about builds of vector indexes: memory, lists, progress, and whether the new one is good enough."""

from __future__ import annotations

from typing import Any

import pytest

from actions._vector_memory import Machine, size_build
from actions._vector_proof import Seen, faults, prove
from actions._vector_watch import Sight, sight_of
from actions.rebuild_vector_index import steady_lists
from fleet.errors import ActionError
from fleet.vectors import Method
from fleet.vectors.costs import Shape
from fleet.vectors.plans import Cause, Reason, Use
from fleet.vectors.recall import Point, Recall

HNSW = Shape(Method.HNSW, "vector", 1536, {"m": 16, "ef_construction": 64})
IVFFLAT = Shape(Method.IVFFLAT, "vector", 1536, {"lists": 100})


@pytest.mark.parametrize(
    ("present", "rows", "wanted"),
    [
        *[(100, 500_000, 500), (100, 90_000, 100), (100, 200_000, 100), (100, 210_000, 200), (1, 0, 1)],
        *[(100, 1_000, 100), (100, 99, 1), (707, 500_000, 707), (1200, 500_000, 500)],
    ],
)
def test_lists_change_where_they_are_off_by_half_or_twice(present: int, rows: float, wanted: int) -> None:
    assert steady_lists(present, rows) == wanted


def test_lists_stay_the_same_while_people_are_asked() -> None:
    assert {steady_lists(7, rows) for rows in range(480_000, 520_000, 1_000)} == {500}


def test_a_graph_gets_the_memory_that_it_fits_in() -> None:
    budget, remark = size_build(Machine(64, 128, 8, free=16_000, free_shared=9_000), HNSW, 100_000)
    assert 600 < budget.megabytes < 1_000, "64 MB made it seven times slower, 1 GB was enough"
    assert budget.workers == 4
    assert "faster" not in remark


def test_elsewhere_no_more_than_the_server_keeps_for_its_cache() -> None:
    budget, remark = size_build(Machine(64, 128, 8), HNSW, 100_000)
    assert budget.megabytes == 128
    assert "would make it many times faster" in remark
    assert size_build(Machine(64, 128, 8), HNSW, 100_000, asked=2_000)[0].megabytes == 2_000


def test_shared_memory_of_a_container_is_no_room_for_workers() -> None:
    budget, remark = size_build(Machine(64, 128, 8, free=16_000, free_shared=64), HNSW, 100_000)
    assert budget.workers == 0
    assert "shm has 64 MB" in remark
    assert size_build(Machine(64, 128, 8), HNSW, 1_000, parallel=False)[0].workers == 0


def test_each_worker_has_what_the_server_asks_for_one() -> None:
    assert size_build(Machine(64, 1024, 4), HNSW, 1_000)[0].megabytes == 5 * 32
    assert size_build(Machine(64, 8192, 4), None, 1_000)[0].megabytes == 1024


def test_ivfflat_has_what_it_needs_or_is_not_begun() -> None:
    budget, _ = size_build(Machine(64, 128, 2), IVFFLAT, 100_000)
    assert 65 <= budget.megabytes <= 128, "pgvector says: memory required is 65 MB"
    with pytest.raises(ActionError, match=r"the build needs .* MB of memory, 64 MB are there"):
        size_build(Machine(64, 32, 2), IVFFLAT, 100_000)


def sight(phase: str | None, **facts: Any) -> Sight:
    values: dict[str, Any] = {
        "command": "CREATE INDEX CONCURRENTLY",
        "phase": phase,
        "blocks_done": None,
        "blocks_total": None,
        "tuples_done": None,
        "tuples_total": None,
        "holders": None,
        "waits": False,
    }
    return sight_of(values | facts)


def test_progress_only_goes_forward() -> None:
    hnsw = [
        sight("initializing"),
        sight("building index: initializing"),
        *(sight("building index: loading tuples", blocks_done=done, blocks_total=10) for done in range(11)),
        sight("waiting for writers before validation"),
        sight("index validation: scanning table", blocks_done=5, blocks_total=10),
        sight("waiting for old snapshots", waits=True),
    ]
    ratios = [one.ratio for one in hnsw]
    assert ratios == sorted(ratios)
    assert ratios[0] == 0
    assert ratios[7] == pytest.approx(0.85 / 2)
    ivfflat = ["building index: performing k-means", "building index: assigning tuples"]
    loading = [
        sight("building index: loading tuples", blocks_done=4, blocks_total=4, tuples_done=done, tuples_total=9)
        for done in (0, 9)
    ]
    ratios = [one.ratio for one in [*map(sight, ivfflat), *loading]]
    assert ratios == sorted(ratios)


def test_who_is_waited_for_is_named() -> None:
    assert sight("initializing").tell("build of i") == "build of i: initializing"
    assert sight(None).tell("drop of i") == "drop of i"
    held = sight(None, waits=True, holders="session 7 of bob (report), in a transaction for 90 s")
    assert held.tell("drop of i") == "drop of i waits for session 7 of bob (report), in a transaction for 90 s"
    assert "the role may not see" in sight(None, waits=True).tell("drop of i")


def seen(recall: float | None, served_by: str | None = "new", rows: float = 50_000) -> Seen:
    point = None if recall is None else Point(40, Recall(recall, recall - 0.01, recall + 0.01, 100), 0.002)
    return Seen(point, Use("new", served_by, 100.0), rows)


@pytest.mark.parametrize(
    ("new", "before", "why"),
    [
        (seen(0.90), {"used": True, "recall_ratio": 0.91}, None),
        (seen(0.85), {"used": True, "recall_ratio": 0.91}, "recall is 0.850 and was 0.910"),
        (seen(0.895), {"used": True, "recall_ratio": 0.92}, "more than 0.02 is lost"),
        (seen(0.80), {"used": True}, "0.9 is promised"),
        (seen(None), {"used": True}, None),
        (seen(0.99, None), {"used": True, "recall_ratio": 0.9}, "would rather read the whole table"),
        (seen(0.99, None, rows=500), {"used": True, "recall_ratio": 0.9}, None),
        (seen(0.99, None), {"used": False, "recall_ratio": 0.9}, None),
    ],
    ids=["as good", "worse", "a little worse", "below the promise", "unknown", "not used", "small", "never was"],
)
def test_a_new_index_must_be_as_good(new: Seen, before: dict[str, Any], why: str | None) -> None:
    found = prove(new, before, 0.02, 0.9)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


def test_what_is_the_planners_fault_and_what_is_not() -> None:
    stale, other = Reason(Cause.STATISTICS, "stale", "analyze"), Reason(Cause.SETTINGS, "switched off", "reset it")
    use = Use("new", None, 1.0, reasons=(Reason(Cause.COST, "the table is small"), stale, other))
    assert faults(use, 500) == "switched off"
    assert faults(use, 50_000) == "stale; switched off"


def test_what_so_few_searches_cannot_tell_apart_is_no_reason() -> None:
    point = Point(40, Recall(0.85, 0.7, 0.93, 5), 0.002)
    assert prove(Seen(point, Use("new", "new", 1.0), 100), {"used": True, "recall_ratio": 0.92}, 0.02, None) is None


def test_what_the_old_one_may_have_been_by_luck_is_no_reason() -> None:
    before = {"used": True, "recall_ratio": 0.96, "recall_low_ratio": 0.92}
    point = Point(40, Recall(0.92, 0.89, 0.95, 100), 0.002)
    assert prove(Seen(point, Use("new", "new", 1.0), 100), before, 0.02, None) is None
    assert prove(Seen(point, Use("new", "new", 1.0), 100), before | {"recall_low_ratio": 0.95}, 0.02, None) is not None
