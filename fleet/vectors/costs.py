"""What an index takes: bytes on disk, memory for its build, seconds; reckoned as pgvector lays it out.

Sources: pgvector's hnsw.h, ivfflat.h and ivfkmeans.c for the layout on pages of 8 kB and in memory. The constants of
time were fitted to builds of 1,536 dimensions, 1,000 to 100,000 rows: right within a factor of two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2

from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.recommended import Method

_PAGE, _ON_PAGE, _ITEM = 8192, 8160, 4
_HNSW_ELEMENT, _HNSW_IN_MEMORY, _CANDIDATE = 72, 200, 16
_IVFFLAT_TUPLE = 8
_SAMPLES_A_LIST, _LEAST_SAMPLES = 50, 10_000
_ROUNDS = 8  # of k-means, on average over the lists
_WRITTEN_A_SECOND = 250e6  # bytes, sorted and written
_TRIED = 1.4  # distances of one insertion, for each candidate and neighbour, and each doubling of the rows
_TIGHT = 0.3  # what a distance of k-means takes of one in a query: nothing but distances, one vector after the other


@dataclass(frozen=True, slots=True)
class Shape:
    """An index as it is or might be; `options` are lists, or m and ef_construction."""

    method: Method
    type_name: str
    dimensions: int
    options: Mapping[str, int]


def shape_of(index: VectorIndex) -> Shape | None:
    """None where the column does not tell its dimensions, or their number says nothing of the size (sparsevec)."""
    type_name = index.type_name.rpartition(".")[2]  # qualified where its schema is not in the search path
    if index.dimensions is None or type_name not in _VALUE_BYTES:
        return None
    return Shape(index.method, type_name, index.dimensions, index.options)


_VALUE_BYTES = {"vector": 4.0, "halfvec": 2.0, "bit": 1 / 8}


def _vector_bytes(shape: Shape) -> int:
    return 8 + ceil(_VALUE_BYTES[shape.type_name] * shape.dimensions)


def index_bytes(shape: Shape, rows: float) -> float:
    """On disk, right after a build."""
    size = _aligned(_vector_bytes(shape))
    if shape.method is Method.IVFFLAT:
        tuples = max(1, _ON_PAGE // (_IVFFLAT_TUPLE + size + _ITEM))
        # the last page of a list is half full on average, and the lists themselves are a page of centres each
        return _PAGE * (rows / tuples + min(rows, 1.5 * shape.options["lists"]))
    m = shape.options["m"]
    neighbours = _aligned(ceil(4 + 6 * m * (2 + _level(m))))
    both = _HNSW_ELEMENT + size + neighbours + 2 * _ITEM
    return _PAGE * rows * (1 / (_ON_PAGE // both) if both <= _ON_PAGE else 2)


def build_memory(shape: Shape, rows: float) -> float:
    """maintenance_work_mem in bytes: without it IVFFlat is not built at all, and HNSW many times slower."""
    size = _vector_bytes(shape)
    if shape.method is Method.HNSW:
        m = shape.options["m"]
        return rows * (size + _CANDIDATE * m * (2 + _level(m)) + _HNSW_IN_MEMORY)
    lists = shape.options["lists"]
    samples = min(rows, _samples(lists))
    return (samples + 3 * lists) * size + samples * (4 * lists + 8) + 8 * lists**2


def build_seconds(shape: Shape, rows: float, distance_seconds: float, workers: int = 0) -> float:
    """With enough memory; `distance_seconds` is what one distance between such vectors takes on that server."""
    hands = 1 + workers
    written = index_bytes(shape, rows) / _WRITTEN_A_SECOND
    if shape.method is Method.HNSW:
        tried = _TRIED * (shape.options["ef_construction"] + 2 * shape.options["m"]) * log2(max(2.0, rows))
        return written + rows * tried * distance_seconds / hands
    lists = shape.options["lists"]
    compared = lists * (rows / hands + _ROUNDS * min(rows, _samples(lists)))
    return written + compared * _TIGHT * distance_seconds


def _samples(lists: int) -> int:
    return max(_LEAST_SAMPLES, _SAMPLES_A_LIST * lists)


def _level(m: int) -> float:
    """The highest layer of an element above the lowest, on average."""
    return 1 / (m - 1) if m > 1 else 1.0


def _aligned(size: int) -> int:
    return ceil(size / 8) * 8
