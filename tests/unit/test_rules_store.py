"""The sample store: what a batch replaces, what is kept of it, and what it costs."""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Iterable

import pytest

from rules import STALE, Labels, Query, SampleStore, StoreFullError
from rules.labels import EMPTY, NAME
from rules.promql.evaluation import Dialect, Evaluation, Moment
from rules.promql.matchers import Matchers
from rules.promql.selectors import Selector

A, B, C = (Labels({NAME: "m", "i": letter}) for letter in "abc")
OTHER = Labels({NAME: "other"})


def values(store: SampleStore, at: float, text: str = "m") -> dict[Labels, float]:
    return dict(Query.compile(text).evaluate(store, at))


def counted(store: SampleStore, at: float, window: str) -> float:
    """How many samples of `m` there are in a window."""
    return values(store, at, f"sum(count_over_time(m[{window}]))").get(EMPTY, 0.0)


def recounted(store: SampleStore) -> tuple[int, int]:
    """Cells and series as they are in the blocks."""
    blocks = [block for name in store.names() if (metric := store.metric(name)) for block in metric.blocks.values()]
    return sum(block.cells for block in blocks), sum(len(block.labels) for block in blocks)


def one(number: object, name: str = "m") -> Labels:
    return Labels({NAME: name, "i": str(number)})


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


def test_of_two_equal_label_sets_the_last_one_counts() -> None:
    store = SampleStore()
    store.land("x", 10, [(A, 1.0), (B, 5.0), (A, 2.0)])
    assert values(store, 10) == {A: 2.0, B: 5.0}
    store.land("x", 20, [(A, 3.0), (B, 5.0), (A, 4.0)])
    assert values(store, 20) == {A: 4.0, B: 5.0}


def test_a_series_that_vanishes_is_stale_then_and_history_before() -> None:
    store = SampleStore()
    for time in (10, 20, 30):
        store.land("x", time, [(A, 1.0), (B, 1.0)] if time < 30 else [(A, 1.0)])
    assert values(store, 29.999) == {A: 1.0, B: 1.0}
    assert values(store, 30) == {A: 1.0}
    assert values(store, 30, "count_over_time(m[1m])") == {one("a", ""): 3.0, one("b", ""): 2.0}
    store.land("x", 40, [(A, 1.0), (B, 7.0)])
    assert values(store, 40) == {A: 1.0, B: 7.0}
    assert values(store, 40, 'count_over_time(m{i="b"}[1m])') == {one("b", ""): 3.0}


def test_a_source_may_come_more_seldom_than_the_lookback() -> None:
    store = SampleStore()
    store.land("x", 0, [(A, 1.0)], fresh_for=3600)
    assert values(store, 3599) == {A: 1.0}
    assert values(store, 3600) == {}
    store.land("x", 4000, [(A, 1.0)], fresh_for=10)
    assert values(store, 4009) == {A: 1.0}
    assert values(store, 4010) == {}


def test_a_clock_set_back_hides_nothing() -> None:
    store = SampleStore()
    store.land("x", 5000, [(A, 1.0), (B, 1.0)])
    assert values(store, 1400) == {}  # not yet said at that time
    store.land("x", 1410, [(A, 2.0)])
    assert values(store, 1410) == {A: 2.0}
    assert values(store, 5000) == {}  # what was said of the future is forgotten
    store.land("x", 1420, [(A, 3.0)])
    assert counted(store, 1420, "1h") == 2.0
    store.land("x", 1420, [(A, 4.0)])  # the same time again replaces
    assert values(store, 1420, "sum_over_time(m[1h])") == {one("a", ""): 6.0}
    assert recounted(store) == (store.cells, store.series)


def test_times_are_milliseconds() -> None:
    store = SampleStore()
    store.land("x", 0.1 + 0.2, [(A, 1.0)])
    assert values(store, 0.3) == {A: 1.0}
    assert values(store, 0.2999) == {}


@pytest.mark.parametrize(
    ("floor", "windows", "kept"),
    [
        (100.0, {}, 10),
        (0.0, {"m": 60.0}, 12),  # and 60 seconds of slack for late evaluations
        (0.0, {"other": 600.0}, 6),
        (0.0, {"": 120.0}, 18),  # every metric's
        (0.0, {"": 120.0, "m": 60.0}, 18),
        (0.0, {"": 60.0, "m": 120.0}, 18),
        (300.0, {"m": 60.0}, 30),  # never below the floor
        (math.inf, {}, 100),
    ],
)
def test_history_is_kept_as_long_as_somebody_reads_it(floor: float, windows: dict[str, float], kept: int) -> None:
    store = SampleStore(floor=floor)
    store.retain(windows)
    for number in range(100):
        store.land("x", number * 10.0, [(A, 1.0)])
    assert counted(store, 990, "1h") == kept
    store = SampleStore(floor=floor)
    store.land("x", 0, [(A, 1.0)])  # the same when the rules are loaded later
    store.retain(windows)
    for number in range(1, 100):
        store.land("x", number * 10.0, [(A, 1.0)])
    assert counted(store, 990, "1h") == kept


def test_more_history_is_kept_from_the_reload_on_that_asks_for_it() -> None:
    store = SampleStore(floor=0.0)
    query = Query.compile("count_over_time(m[10m])")
    for time in range(0, 300, 10):
        store.land("x", time, [(A, 1.0)])
    assert [value for _, value in query.evaluate(store, 290)] == [6.0]
    store.retain(query.windows)
    for time in range(300, 1200, 10):
        store.land("x", time, [(A, 1.0)])
    assert [value for _, value in query.evaluate(store, 1190)] == [60.0]
    store.retain({})
    store.land("x", 1200, [(A, 1.0)])
    assert [value for _, value in query.evaluate(store, 1200)] == [6.0]


def test_gaps_are_gaps() -> None:
    store = SampleStore(floor=math.inf)
    for time in (0, 10, 20, 1000, 1010):
        store.land("x", time, [(A, float(time))])
    assert values(store, 319) == {A: 20.0}
    assert values(store, 320) == {}
    assert counted(store, 1000, "15m") == 1.0
    assert counted(store, 1010, "1h") == 5.0


def test_history_is_filled_in_with_ends_and_holes() -> None:
    store = SampleStore(floor=math.inf)
    store.fill(A, [0, 10, 30, 40], [1.0, 2.0, STALE, math.nan])
    store.fill(B, [10], [5.0])
    assert values(store, 20) == {A: 2.0, B: 5.0}
    assert values(store, 30) == {B: 5.0}
    found = values(store, 40)
    assert math.isnan(found.pop(A))  # an ordinary NaN is a value
    assert found == {B: 5.0}
    assert values(store, 40, "count_over_time(m[1h])") == {one("a", ""): 3.0, one("b", ""): 1.0}
    with pytest.raises(ValueError, match="argument"):
        store.fill(A, [50], [])


def test_filled_series_are_told_apart() -> None:
    first, second = Labels({NAME: "m", "a": 'x", b="y'}), Labels({NAME: "m", "a": "x", "b": "y"})
    store = SampleStore()
    store.fill(first, [0], [1.0])
    store.fill(second, [0], [2.0])
    assert values(store, 0) == {first: 1.0, second: 2.0}


def run(selector: Selector, store: SampleStore, at: float) -> object:
    selector(Moment(Evaluation(store, Dialect(), at, at), at))
    return selector.series


def test_a_batch_costs_no_label_work_when_nothing_changed() -> None:
    store = SampleStore()
    by_name, by_regex = Selector(Matchers("m", ())), Selector(Matchers(None, ()))
    store.land("x", 0, [(A, 1.0), (OTHER, 1.0)])
    store.land("y", 0, [(B, 1.0)])
    first = run(by_name, store, 0), run(by_regex, store, 0)
    before = store.generation
    for time in range(15, 6000, 15):  # blocks grow and are trimmed meanwhile
        store.land("x", time, [(A, float(time)), (OTHER, 1.0)])
        store.land("y", time, [(B, math.nan)])
        assert run(by_name, store, time) is first[0]
        assert run(by_regex, store, time) is first[1]
    assert store.generation == before
    store.land("x", 6000, [(A, 1.0), (OTHER, 1.0), (one("new", "other"), 1.0)])
    assert run(by_name, store, 6000) is first[0]  # each metric has its own generation
    assert run(by_regex, store, 6000) is not first[1]
    store.land("y", 6000, [(B, 1.0), (C, 1.0)])
    assert run(by_name, store, 6000) is not first[0]


def test_generations_follow_what_comes_and_goes() -> None:
    store = SampleStore(floor=0.0)
    query, everything = Query.compile("m"), Query.compile('{__name__=~".+"}')

    def seen(at: float) -> tuple[list[str], list[str]]:
        found, all_ = query.evaluate(store, at), everything.evaluate(store, at)
        return sorted(repr(labels) for labels, _ in found), sorted(repr(labels) for labels, _ in all_)

    assert seen(0) == ([], [])
    store.land("x", 0, [(A, 1.0)])
    assert seen(0) == (['m{i="a"}'], ['m{i="a"}'])
    store.land("y", 0, [(B, 1.0), (OTHER, 1.0)])
    assert seen(0) == (['m{i="a"}', 'm{i="b"}'], ['m{i="a"}', 'm{i="b"}', "other{}"])
    store.drop("x")
    assert seen(0) == (['m{i="b"}'], ['m{i="b"}', "other{}"])
    store.drop("y")  # the last source of both metrics
    assert seen(0) == ([], [])
    assert store.names() == []
    store.land("x", 1, [(C, 1.0)])
    assert seen(1) == (['m{i="c"}'], ['m{i="c"}'])


def test_one_query_over_several_stores_reads_each() -> None:
    first, second, query = SampleStore(), SampleStore(), Query.compile("m")
    first.land("x", 0, [(A, 1.0)])
    second.land("x", 0, [(B, 2.0)])
    for _ in range(2):
        assert query.evaluate(first, 0) == [(A, 1.0)]
        assert query.evaluate(second, 0) == [(B, 2.0)]
        assert query.evaluate(SampleStore(), 0) == []


@pytest.mark.parametrize("windows", [{}, {"m": 600.0}])
def test_label_sets_that_come_and_go_leave_nothing_behind(windows: dict[str, float]) -> None:
    store = SampleStore()
    store.retain(windows)
    for number in range(300):
        store.land("x", number * 15.0, [(one(number), 1.0)])
        assert recounted(store) == (store.cells, store.series)
    assert store.series <= (660 if windows else 360) / 15 + 2
    for number in range(300, 400):
        store.land("x", number * 15.0, [])
        assert recounted(store) == (store.cells, store.series)
    assert (store.cells, store.series, store.names()) == (0, 0, [])


def test_sources_that_fall_silent_are_forgotten_when_nobody_can_read_them() -> None:
    store = SampleStore(floor=100.0)
    store.retain({"m": 500.0})
    store.land("long", 0, [(A, 1.0)])
    store.land("short", 0, [(OTHER, 1.0)], fresh_for=50.0)
    store.land("seldom", 0, [(one(1, "third"), 1.0)], fresh_for=3600.0)
    store.land("empty", 0, [], fresh_for=50.0)
    for now, left in (
        (100, ["long", "short", "seldom", "empty"]),
        (100.001, ["long", "seldom"]),
        (560, ["long", "seldom"]),
        (561, ["seldom"]),
        (3600, ["seldom"]),
        (3601, []),
    ):
        store.expire(now)
        assert store.sources() == left
        assert recounted(store) == (store.cells, store.series)
    assert store.cells == 0


def test_nothing_expires_because_a_clock_was_set_back() -> None:
    store = SampleStore()
    store.land("x", 10_000, [(A, 1.0)])
    store.expire(0)
    assert store.sources() == ["x"]


def state(store: SampleStore, at: float) -> Iterable[object]:
    return values(store, at, '{__name__=~".+"}'), sorted(store.sources()), store.cells, store.series, recounted(store)


def test_a_full_store_refuses_and_stays_as_it_was() -> None:
    store = SampleStore(limit=100)
    store.land("x", 0, [(one(n), 1.0) for n in range(20)])
    store.land("y", 0, [(one(n, "other"), 1.0) for n in range(20)])
    before = state(store, 10)
    with pytest.raises(StoreFullError, match="no room for the samples of new") as caught:
        store.land("new", 10, [(one(n, "third"), 1.0) for n in range(100)])
    assert caught.value.hint
    assert state(store, 10) == before
    with pytest.raises(StoreFullError):
        store.land("x", 10, [(one(n), 2.0) for n in range(90)])
    with pytest.raises(StoreFullError):  # a name that is known and one that is new
        store.land("x", 10, [(one(0), 2.0), *((one(n, "third"), 2.0) for n in range(90))])
    assert state(store, 10) == before
    store.drop("y")
    store.land("new", 10, [(one(n, "third"), 1.0) for n in range(50)])
    assert len(values(store, 10, "third")) == 50
    assert recounted(store) == (store.cells, store.series)


@pytest.mark.parametrize("labels", [1, 1000])
def test_the_limit_holds_whatever_fills_the_store(labels: int) -> None:
    """Ever more history of one series, and ever new label sets one at a time."""
    store = SampleStore(floor=math.inf, limit=1000)
    refused = 0
    for number in range(2000):
        try:
            store.land("x", number, [(one(number % labels), 1.0)])
        except StoreFullError:
            refused += 1
        assert store.cells <= 1000
        assert recounted(store) == (store.cells, store.series)
    assert refused


def test_what_could_not_be_read_is_unknown_until_it_is_read_again() -> None:
    store = SampleStore()
    qa, prod = {"environment": "qa"}, {"environment": "prod"}
    store.land("qa/x", 0, [(A, 1.0), (OTHER, 1.0)])
    store.land("prod/x", 0, [(B, 1.0)])
    assert store.unknown(None) == []
    store.land("qa/x", 10, [(OTHER, 1.0)], doubtful=qa)
    assert store.unknown({"m"}) == [qa]  # told before
    assert store.unknown({"other"}) == [qa]
    assert store.unknown({"third"}) == []
    assert store.unknown(()) == []
    store.land("qa/x", 20, [], doubtful=qa)
    assert store.unknown({"m"}) == [qa]  # still what the last full batch told
    store.land("prod/x", 20, [], doubtful=prod)
    assert store.unknown({"m"}) == [qa, prod]
    assert store.unknown(None) == [qa, prod]
    store.land("qa/x", 30, [(OTHER, 1.0)])
    assert store.unknown({"m"}) == [prod]
    store.land("qa/x", 40, [], doubtful=qa)
    assert store.unknown({"m"}) == [prod]  # gone from a full batch: nobody doubts that
    assert store.unknown({"other"}) == [qa]
    store.drop("prod/x")
    store.expire(10_000)
    assert store.unknown(None) == []
