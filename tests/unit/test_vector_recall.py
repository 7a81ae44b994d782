"""Recall as numbers: its interval, ties, settings; and the exact pass on rows as COPY gives them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fleet.errors import ActionError
from fleet.policy import TIER_DEFAULTS, Tier, VectorPolicy, VectorQueries
from fleet.vectors import Method, VectorIndex
from fleet.vectors.allowance import Cost
from fleet.vectors.exact import ExactSearch, copy_query
from fleet.vectors.probe import part_blocks, usual_settings
from fleet.vectors.recall import Point, Recall, estimate, point, reaching, shares, wilson
from fleet.vectors.search import Answers, Query, search_sql

K = 10


def make_index(
    type_name: str = "vector", distance: str = "<->", dimensions: int | None = 8, **more: Any
) -> VectorIndex:
    values: dict[str, Any] = {
        "datname": "d",
        "schemaname": "public",
        "relname": "t",
        "indexrelname": "i",
        "oid": 2,
        "table_oid": 1,
        "method": Method.HNSW,
        "opclass": "vector_l2_ops",
        "type_name": type_name,
        "dimensions": dimensions,
        "column": "e",
        "expression": "(e)",
        "operator": f"operator(public.{distance})",
        "distance": distance,
        "predicate": None,
        "options": {"m": 16, "ef_construction": 64},
        "definition": "",
        "quoted": "public.i",
        "quoted_table": "public.t",
        "valid": True,
        "size_bytes": 1000,
        "table_bytes": 3000,
        "rows": 100.0,
        "owned": True,
    }
    return VectorIndex(**(values | more))


def test_wilson_agrees_with_the_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for hits, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(hits / trials, trials) == pytest.approx((low, high), abs=0.0001)


def test_an_interval_holds_the_ratio_and_is_narrower_for_more_searches() -> None:
    few, many = estimate([0.9, 0.8, 1.0, 0.9]), estimate([0.9, 0.8, 1.0, 0.9] * 25)
    assert few is not None
    assert many is not None
    assert few.ratio == many.ratio == pytest.approx(0.9)
    assert few.low < many.low < 0.9 < many.high < few.high
    assert (few.queries, many.queries) == (4, 100)


def test_neighbours_that_are_missed_together_count_for_less() -> None:
    together, spread = estimate([1.0] * 90 + [0.0] * 10), estimate([0.9] * 100)
    assert together is not None
    assert spread is not None
    assert together.high - together.low > 2 * (spread.high - spread.low)
    # ten of a hundred searches, and nothing else: the interval of a hundred trials
    assert (together.low, together.high) == pytest.approx(wilson(0.9, 100), abs=0.002)


def test_nothing_was_compared() -> None:
    assert estimate([]) is None
    assert point(Answers(40, ((0.1,),), (0.1,)), [[]]) is None


def test_what_is_equally_far_is_as_good() -> None:
    assert shares([[0.0, 1.0, 1.0]], [[0.0, 1.0, 1.0]]) == [1.0]
    assert shares([[0.0, 1.0 + 1e-7, 2.0]], [[0.0, 1.0, 1.0]]) == [pytest.approx(2 / 3)]
    assert shares([[]], [[0.5]]) == [0.0]
    assert shares([[-0.9, -0.2]], [[-0.9, -0.8]]) == [0.5]  # inner products


def test_the_least_setting_that_reaches_what_is_wanted() -> None:
    curve = [Point(setting, Recall(ratio, 0, 1, 100), 0.001) for setting, ratio in ((40, 0.9), (20, 0.8), (80, 0.96))]
    best = reaching(curve, 0.9)
    assert best is not None
    assert best.setting == 40
    assert reaching(curve, 0.97) is None


def test_usual_settings_suit_the_index() -> None:
    assert 40 in usual_settings(make_index())
    lists = usual_settings(make_index(method=Method.IVFFLAT, options={"lists": 7}))
    assert max(lists) == 7
    assert lists == tuple(sorted(set(lists)))


def test_parts_of_a_table_leave_no_block_out() -> None:
    assert part_blocks(100, 1) == [(0, 2**32 - 1)]
    assert part_blocks(10, 3) == [(0, 3), (3, 6), (6, 2**32 - 1)]


def test_a_pass_needs_room_in_shared_buffers() -> None:
    cost = Cost(pass_bytes=300.0, shared_bytes=1000.0, counted=True)
    assert cost.pass_fits(None)
    assert cost.pass_fits(0.3)
    assert not cost.pass_fits(0.29)
    index = make_index()
    assert cost.searches_may_read(None, index) is None
    assert cost.searches_may_read(0.25, index) == 250.0
    # a server that does not count: only what is small as a whole, 4000 bytes here
    assert Cost(0, 1000.0, counted=False).searches_may_read(0.25, index) == 0.0
    assert Cost(0, 16_000.0, counted=False).searches_may_read(0.25, index) == 4000.0


def test_the_policy_of_busy_tiers_bounds_probes() -> None:
    shares_ = {tier: TIER_DEFAULTS[tier].vectors.probe_share for tier in Tier}
    assert shares_ == {Tier.DEVELOPMENT: None, Tier.QA: None, Tier.PREPROD: 0.25, Tier.PRODUCTION: 0.25}


def test_real_searches_are_found_by_the_name_of_the_index() -> None:
    policy = VectorPolicy(
        queries=(VectorQueries(index="i", sql="select 1"), VectorQueries(index="s.i", sql="select 2"))
    )
    assert policy.queries_of("public", "i") == "select 1"
    assert policy.queries_of("s", "i") == "select 2"
    assert policy.queries_of("other", "i") is None


def test_searches_and_passes_ask_for_the_rows_of_the_index_alone() -> None:
    partial = make_index(predicate="(kind = 1)")
    assert "where (kind = 1) order by" in search_sql(partial, 11)
    assert search_sql(partial, 11).endswith("limit 11")
    assert copy_query(partial, (3, 9)) == (
        "select ctid, (e) from public.t where (e) is not null and ((kind = 1))"
        " and ctid >= '(3,0)'::tid and ctid < '(9,0)'::tid"
    )


# --- the exact pass


def vector_rows(vectors: NDArray[np.float32], type_name: str = "vector") -> list[memoryview]:
    """Rows as COPY gives them: ctid, vector."""
    kind = ">f4" if type_name == "vector" else ">f2"
    rows = []
    for number, vector in enumerate(vectors):
        payload = struct.pack(">hh", len(vector), 0) + vector.astype(kind).tobytes()
        rows.append(_row(number, payload))
    return rows


def bit_rows(bits: NDArray[np.bool_]) -> list[memoryview]:
    packed = np.packbits(bits, axis=1)
    return [_row(n, struct.pack(">i", bits.shape[1]) + one.tobytes()) for n, one in enumerate(packed)]


def _row(number: int, payload: bytes) -> memoryview:
    block, offset = divmod(number, 50)
    return memoryview(
        struct.pack(">hiIHi", 2, 6, block, offset + 1, len(payload)) + payload,
    )


def naive(distance: str, one: NDArray[Any], other: NDArray[Any]) -> float:
    a, b = one.astype(float), other.astype(float)
    match distance:
        case "<->":
            return float(np.linalg.norm(a - b))
        case "<+>":
            return float(np.abs(a - b).sum())
        case "<#>":
            return float(-(a @ b))
        case "<=>":
            return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        case "<~>":
            return float((a != b).sum())
        case _:
            either = float(((a + b) > 0).sum())
            return 1 - float((a * b).sum()) / either if (a * b).sum() else 1.0


def nearest(distance: str, rows: NDArray[Any], query: NDArray[Any], without: int | None = None) -> list[float]:
    return sorted(naive(distance, row, query) for number, row in enumerate(rows) if number != without)[:K]


def text(vector: Sequence[float]) -> str:
    return "[" + ",".join(repr(float(one)) for one in vector) + "]"


@pytest.mark.parametrize("type_name", ["vector", "halfvec"])
@pytest.mark.parametrize("distance", ["<->", "<=>", "<#>", "<+>"])
def test_the_nearest_are_found_by_every_distance(distance: str, type_name: str) -> None:
    chance = np.random.default_rng(7)
    vectors = chance.normal(size=(9000, 8)).astype(np.float16).astype(np.float32)  # more than two batches
    queries = [Query(text(vectors[number]), (number // 50, number % 50 + 1)) for number in (0, 4711, 8999)]
    queries.append(Query(text([0.5] * 8)))
    search = ExactSearch(make_index(type_name, distance), queries, K)
    search.take(vector_rows(vectors, type_name))
    wanted = [nearest(distance, vectors, vectors[number], number) for number in (0, 4711, 8999)]
    wanted.append(nearest(distance, vectors, np.array([0.5] * 8)))
    assert search.rows == 9000
    for found, true in zip(search.distances, wanted, strict=True):
        assert found == pytest.approx(true, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("dimensions", [64, 100])
@pytest.mark.parametrize("distance", ["<~>", "<%>"])
def test_bits_are_counted(distance: str, dimensions: int) -> None:
    bits = np.random.default_rng(7).random((5000, dimensions)) < 0.3
    bits[17] = False
    queries = [Query("".join("1" if one else "0" for one in bits[number])) for number in (3, 17)]
    search = ExactSearch(make_index("bit", distance, dimensions), queries, K)
    search.take(bit_rows(bits))
    assert search.distances == [pytest.approx(nearest(distance, bits, bits[number])) for number in (3, 17)]


def test_parts_one_after_the_other_find_what_one_pass_finds() -> None:
    vectors = np.random.default_rng(7).normal(size=(500, 8)).astype(np.float32)
    index, queries, rows = make_index(), [Query(text(vectors[3]), (0, 4))], vector_rows(vectors)
    whole, first, second = (ExactSearch(index, queries, K) for _ in range(3))
    whole.take(rows)
    first.take(rows[:200])
    second.resume(first.distances)
    second.take(rows[200:])
    assert second.distances == whole.distances


def test_many_that_are_equally_near_are_no_trouble() -> None:
    vectors = np.ones((6000, 8), dtype=np.float32)
    vectors[5990:] *= 1.001
    search = ExactSearch(make_index(), [Query(text([1.0] * 8))], K)
    search.take(vector_rows(vectors))
    assert search.distances == [[0.0] * K]


def test_near_ones_far_from_the_origin_are_told_apart() -> None:
    """A difference of large squares in single precision would not."""
    vectors = (np.random.default_rng(7).normal(size=(3000, 8)) * 1e-3 + 1000).astype(np.float32)
    search = ExactSearch(make_index(), [Query(text(vectors[5]), (0, 6))], K)
    search.take(vector_rows(vectors))
    assert search.distances[0] == pytest.approx(nearest("<->", vectors, vectors[5], 5), rel=1e-6)


def test_few_rows_give_few_answers_and_what_is_zero_has_no_angle() -> None:
    vectors = np.zeros((3, 8), dtype=np.float32)
    vectors[1] = 1
    search = ExactSearch(make_index(distance="<=>"), [Query(text([1.0] * 8))], K)
    search.take(vector_rows(vectors))
    assert search.distances == [[pytest.approx(0, abs=1e-6)]]


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(ActionError, match="sparsevec"):
        ExactSearch(make_index("sparsevec"), [], K)
    with pytest.raises(ActionError, match="<->"):
        ExactSearch(make_index("bit", "<->"), [], K)
    search = ExactSearch(make_index(dimensions=4), [Query("[1,2,3,4]")], K)
    with pytest.raises(ActionError, match="other dimensions"):
        search.take(vector_rows(np.ones((2, 8), dtype=np.float32)))
