"""What indexes take, against what builds of 100,000 x 1536 were seen to take."""

from dataclasses import replace

import pytest

from fleet.vectors import Method
from fleet.vectors.costs import Shape, build_memory, build_seconds, index_bytes, shape_of
from tests.vector_indexes import MIB, vector_index

ROWS = 100_000
HNSW = Shape(Method.HNSW, "vector", 1536, {"m": 16, "ef_construction": 64})
IVFFLAT = Shape(Method.IVFFLAT, "vector", 1536, {"lists": 100})
DISTANCE = 4e-7  # of one, where the builds were measured


@pytest.mark.parametrize(
    ("shape", "megabytes"),
    [
        (HNSW, 819),
        (replace(HNSW, type_name="halfvec"), 410),
        (replace(HNSW, type_name="bit"), 50),
        (IVFFLAT, 820),
        (replace(IVFFLAT, options={"lists": 707}), 825),
    ],
    ids=["hnsw", "halfvec", "bit", "ivfflat 100", "ivfflat 707"],
)
def test_sizes_are_those_that_were_measured(shape: Shape, megabytes: float) -> None:
    assert index_bytes(shape, ROWS) / 1e6 == pytest.approx(megabytes, rel=0.06)


def test_a_vector_that_leaves_no_room_for_its_neighbours_takes_two_pages() -> None:
    assert index_bytes(replace(HNSW, dimensions=2000), 1000) == 2 * 8192 * 1000


def test_the_memory_of_an_hnsw_build_is_what_pgvector_uses_up() -> None:
    # "hnsw graph no longer fits into maintenance_work_mem after 9754 tuples", with 64 MB
    assert build_memory(HNSW, 9754) == pytest.approx(64 * MIB, rel=0.02)


def test_the_memory_of_an_ivfflat_build_is_what_pgvector_asks_for() -> None:
    # "memory required is 65 MB"
    assert build_memory(IVFFLAT, ROWS) / MIB == pytest.approx(64.5, abs=0.6)
    # fewer rows than it samples: all of them (since 0.8.5)
    assert build_memory(IVFFLAT, 1000) < 0.15 * build_memory(IVFFLAT, ROWS)


@pytest.mark.parametrize(
    ("shape", "workers", "seconds"),
    [
        (HNSW, 0, 89),
        (HNSW, 1, 44),
        (replace(HNSW, type_name="halfvec"), 1, 44),
        (IVFFLAT, 0, 6.2),
        (replace(IVFFLAT, options={"lists": 316}), 1, 10.3),
        (replace(IVFFLAT, options={"lists": 707}), 1, 41),
    ],
    ids=["hnsw", "hnsw of two", "halfvec of two", "ivfflat 100", "ivfflat 316 of two", "ivfflat 707 of two"],
)
def test_builds_take_about_what_was_measured(shape: Shape, workers: int, seconds: float) -> None:
    assert seconds / 1.5 < build_seconds(shape, ROWS, DISTANCE, workers) < seconds * 1.5


def test_the_shape_of_an_index() -> None:
    assert shape_of(vector_index()) == IVFFLAT
    assert shape_of(vector_index(type_name='"Ext".vector')) == IVFFLAT
    assert shape_of(vector_index(dimensions=None)) is None
    assert shape_of(vector_index(type_name="sparsevec")) is None
