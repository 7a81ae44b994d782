"""The sample store: what a batch replaces, what it keeps, and that an unchanged one costs no label work."""

from __future__ import annotations

import copy
import gc

import pytest

from rules import Labels, Query, SampleStore
from rules.labels import EMPTY

A, B, C = (Labels({"__name__": "m", "i": letter}) for letter in "abc")
OTHER = Labels({"__name__": "other"})


def values(store: SampleStore, at: float, name: str = "m") -> dict[Labels, float]:
    return dict(Query.compile(name).evaluate(store, at))


def test_equal_label_sets_are_one_object() -> None:
    assert Labels({"i": "a", "__name__": "m", "empty": ""}) is A
    assert A.name == "m"
    assert A.without(("i",)).only(("__name__",)) is Labels({"__name__": "m"})
    assert A.updated({"i": "", "j": "1"}) is Labels({"__name__": "m", "j": "1"})
    assert A.updated({"i": "", "__name__": ""}) is EMPTY
    assert dict(A) == {"__name__": "m", "i": "a"}
    assert "j" not in A
    assert hash(A) == hash(Labels(dict(A)))
    assert copy.copy(A) is A
    assert copy.deepcopy([A])[0] is A


def test_label_sets_that_nobody_holds_are_forgotten() -> None:
    from rules.labels import _interned

    gc.collect()
    before = len(_interned)
    held = [Labels({"query": str(number)}) for number in range(100)]
    assert len(_interned) == before + 100
    del held
    gc.collect()
    assert len(_interned) == before


def test_a_batch_replaces_the_one_before_of_its_source_only() -> None:
    store = SampleStore()
    store.land("x", 10, [(A, 1.0), (B, 2.0)])
    store.land("y", 10, [(C, 3.0)])
    store.land("x", 20, [(B, 4.0)])
    assert values(store, 20) == {B: 4.0, C: 3.0}
    store.land("x", 30, [])
    assert values(store, 30) == {C: 3.0}
    store.drop("y")
    store.drop("never seen")
    assert values(store, 30) == {}
    assert store.sources() == ["x"]


def test_an_unchanged_batch_changes_no_generation() -> None:
    store = SampleStore()
    store.land("x", 10, [(A, 1.0), (OTHER, 2.0)])
    before = store.metric("m").generation, store.metric("other").generation
    for time in range(11, 40):
        store.land("x", time, [(A, float(time)), (OTHER, 2.0)])
    assert (store.metric("m").generation, store.metric("other").generation) == before
    store.land("x", 50, [(A, 1.0), (B, 1.0), (OTHER, 2.0)])
    assert store.metric("m").generation > before[0]
    assert store.metric("other").generation == before[1]  # each metric has its own


def test_of_two_equal_label_sets_the_last_one_counts() -> None:
    store = SampleStore()
    store.land("x", 10, [(A, 1.0), (B, 5.0), (A, 2.0)])
    assert values(store, 10) == {A: 2.0, B: 5.0}
    store.land("x", 20, [(A, 3.0), (B, 5.0), (A, 4.0)])
    assert values(store, 20) == {A: 4.0, B: 5.0}


def test_only_wanted_metrics_are_landed() -> None:
    store = SampleStore()
    store.land("x", 10, [(A, 1.0), (OTHER, 2.0)])
    store.wanted({"other"})
    assert not store.wants("m")
    store.land("x", 20, [(A, 1.0), (OTHER, 3.0)])
    assert values(store, 20) == {}
    assert values(store, 20, "other") == {OTHER: 3.0}
    store.wanted(None)
    store.land("x", 30, [(A, 7.0), (OTHER, 3.0)])
    assert values(store, 30) == {A: 7.0}


def test_a_source_may_come_more_seldom_than_the_lookback() -> None:
    store = SampleStore()
    store.land("x", 0, [(A, 1.0)], fresh_for=3600)
    assert values(store, 3599) == {A: 1.0}
    assert values(store, 3600) == {}


def test_a_clock_set_back_hides_nothing() -> None:
    store = SampleStore()
    store.land("x", 5000, [(A, 1.0)])
    assert values(store, 1400) == {A: 1.0}
    store.land("x", 1410, [(A, 2.0)])
    assert values(store, 1410) == {A: 2.0}


@pytest.mark.parametrize("windows", [{}, {"m": 60.0}])
def test_label_sets_that_come_and_go_leave_nothing_behind(windows: dict[str, float]) -> None:
    store = SampleStore()
    store.wanted({"m"}, windows)
    for number in range(300):
        label = Labels({"__name__": "m", "query": str(number)})
        store.land("x", number * 15.0, [(label, 1.0)])
    (block,) = store.metric("m").blocks.values()
    assert len(block.labels) <= 10
    for number in range(300, 320):
        store.land("x", number * 15.0, [])
    assert not store.metric("m").blocks


def test_more_history_is_kept_from_the_reload_on_that_asks_for_it() -> None:
    store = SampleStore()
    store.wanted({"m"})
    query = Query.compile("count_over_time(m[1m])")
    store.land("x", 0, [(A, 1.0)])
    store.wanted({"m"}, query.windows)
    for time in (10, 20, 30):
        store.land("x", time, [(A, 1.0)])
    assert [value for _, value in query.evaluate(store, 30)] == [4.0]
    store.wanted({"m"})
    store.land("x", 40, [(A, 1.0)])
    assert [value for _, value in query.evaluate(store, 40)] == [1.0]
