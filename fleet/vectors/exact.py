"""The true nearest rows of many queries at once: the table is streamed by COPY once, and compared here with NumPy.

Each batch of rows is first compared roughly, by one matrix product in single precision; what may belong to the nearest
is then computed in double precision. Memory holds one batch (about 20 MB with what is computed of it), however large
the table is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from fleet.errors import ActionError
from fleet.vectors.catalogue import VectorIndex
from fleet.vectors.search import Query

_BATCH_BYTES, _MOST_ROWS = 4 << 20, 4096
_CHUNK_ROWS = 1024  # that are computed precisely at once
_SLACK = 1e-5  # of single precision, relative to the lengths
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bits = NDArray[np.uint64]
# fields of a row in COPY's binary format; vector_send and halfvec_send give a dimension and a reserved field first
_HEAD = [("fields", ">i2"), ("row", ">i4"), ("block", ">u4"), ("offset", ">u2"), ("size", ">i4")]
_VECTOR = [*_HEAD, ("dimensions", ">i2"), ("unused", ">i2")]
_ELEMENTS = {"vector": ">f4", "halfvec": ">f2"}
_DISTANCES = {
    "vector": frozenset({"<->", "<=>", "<#>", "<+>"}),
    "halfvec": frozenset({"<->", "<=>", "<#>", "<+>"}),
    "bit": frozenset({"<~>", "<%>"}),
}


def base_type(index: VectorIndex) -> str:
    """`vector`, whatever the schema that pgvector is in."""
    return index.type_name.rpartition(".")[2].strip('"')


def refusal(index: VectorIndex) -> str | None:
    """Why the exact pass cannot compute what this index is about; None where it can."""
    if index.distance in _DISTANCES.get(base_type(index), ()) and index.dimensions is not None:
        return None
    return f"exact answers are not computed for {index.type_name} by {index.distance}"


def copy_query(index: VectorIndex, blocks: tuple[int, int] | None = None) -> str:
    """The rows in the index, of a range of heap blocks (the second one not any more; PostgreSQL 14 reads no others)."""
    conditions = [f"{index.expression} is not null"]
    if index.predicate:
        conditions.append(f"({index.predicate})")
    if blocks is not None:
        conditions.append(f"ctid >= '({blocks[0]},0)'::tid and ctid < '({blocks[1]},0)'::tid")
    return f"select ctid, {index.expression} from {index.quoted_table} where {' and '.join(conditions)}"  # noqa: S608


class ExactSearch:
    """Takes rows, in any number of parts, and keeps the `k` nearest of each query; used by one thread at a time."""

    def __init__(self, index: VectorIndex, queries: Sequence[Query], k: int) -> None:
        """Raises ActionError where `refusal` tells why."""
        if (why := refusal(index)) is not None:
            raise ActionError(why)
        self._k = k
        self._best: Doubles = np.full((len(queries), k), np.inf)
        own = [query.row or (-1, -1) for query in queries]
        self._own = np.array(own, dtype=np.int64).reshape(-1, 2)
        dimensions = index.dimensions or 0
        self._compare: _Vectors | _BitStrings
        if base_type(index) == "bit":
            self._layout = np.dtype([*_HEAD, ("bits", ">i4"), ("values", "u1", ((dimensions + 7) // 8,))])
            self._compare = _BitStrings(index.distance, queries, dimensions)
        else:
            self._layout = np.dtype([*_VECTOR, ("values", _ELEMENTS[base_type(index)], (dimensions,))])
            self._compare = _Vectors(index.distance, queries, dimensions)
        self.rows = 0

    @property
    def distances(self) -> list[list[float]]:
        """Of each query's nearest rows so far, nearest first; fewer than `k` where there are no more."""
        return [[float(one) for one in row if np.isfinite(one)] for row in self._best]

    def resume(self, distances: Sequence[Sequence[float]]) -> None:
        """Go on from what another search had found in other parts of the table."""
        for row, known in zip(self._best, distances, strict=True):
            row[: len(known)] = known

    def take(self, rows: Iterable[memoryview]) -> None:
        """Compare rows as COPY gives them in its binary format, without header and trailer. Blocks.

        Raises:
            ActionError: a row is not of the index's type and dimensions.
        """
        if not len(self._best):
            return
        for batch in _batches(iter(rows), self._layout.itemsize):
            joined = b"".join(batch)
            if len(joined) != len(batch) * self._layout.itemsize:
                raise ActionError("the table holds vectors of other dimensions than the index")
            with np.errstate(all="ignore"):  # what is no number, or zero, is near to nothing
                self._take(np.frombuffer(joined, self._layout))

    def _take(self, rows: NDArray[np.void]) -> None:
        self.rows += len(rows)
        rough, limit, slack = self._compare.rough(rows["values"], self._best[:, -1])
        rough[~np.isfinite(rough)] = np.inf
        own = (self._own[:, :1] == rows["block"]) & (self._own[:, 1:] == rows["offset"])
        rough[own] = np.inf
        place = min(len(rows), self._k) - 1
        nearest = np.partition(rough, place, axis=1)[:, place]
        limit = np.minimum(limit, nearest + 2 * slack)
        limit[self._best[:, -1] <= self._compare.least] = -np.inf  # nothing is nearer
        which, chosen = np.nonzero((rough <= limit[:, None]) & np.isfinite(rough))
        found = np.empty(len(which))
        for start in range(0, len(which), _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            found[part] = self._compare.exact(chosen[part], which[part])
        found[np.isnan(found)] = np.inf
        for query in np.unique(which):
            both = np.concatenate([self._best[query], found[which == query]])
            self._best[query] = np.sort(both)[: self._k]


class _Vectors:
    """`rough` gives a matrix of distances by query and row, in any order-preserving unit, which of them is as far as
    `worst`, and how wrong they may be; `exact` then speaks of the rows of the last batch. What is as near as `least` is
    as near as can be told.
    """

    def __init__(self, distance: str, queries: Sequence[Query], dimensions: int) -> None:
        self._distance = distance
        self.least = {"<#>": -np.inf, "<=>": 1e-7}.get(distance, 0.0)
        vectors = [np.fromstring(query.text.strip("[]"), dtype=np.float32, sep=",") for query in queries]
        self._queries: Floats = np.array(vectors, dtype=np.float32).reshape(-1, dimensions)
        # a difference of large squares is a rough one: what all have in common is taken away
        self._centre: Floats = self._queries.mean(axis=0)
        self._rows: Floats = self._queries

    def rough(self, values: NDArray[np.void], worst: Doubles) -> tuple[Floats, Doubles, Doubles]:
        self._rows = values.astype(np.float32)
        queries, rows = self._queries, self._rows
        if self._distance == "<+>":
            taxicab = np.array([np.abs(rows - query).sum(axis=1) for query in queries])
            slack = _SLACK * np.abs(queries).sum(axis=1, dtype=np.float64)
            return taxicab, worst + slack, slack
        if self._distance == "<->":
            queries, rows = queries - self._centre, rows - self._centre
        products = queries @ rows.T
        of_queries, of_rows = (np.einsum("ij,ij->i", each, each) for each in (queries, rows))
        match self._distance:
            case "<#>":
                slack = _SLACK * np.sqrt(of_queries.astype(np.float64) * of_rows.max())
                return -products, worst + slack, slack
            case "<=>":
                slack = np.full(len(queries), _SLACK)
                return 1 - products / (np.sqrt(of_queries)[:, None] * np.sqrt(of_rows)), worst + slack, slack
            case _:
                slack = _SLACK * (of_queries.astype(np.float64) + of_rows.max())
                return of_queries[:, None] + of_rows - 2 * products, worst**2 + slack, slack

    def exact(self, rows: NDArray[np.intp], queries: NDArray[np.intp]) -> Doubles:
        one = self._rows[rows].astype(np.float64)
        other = self._queries[queries].astype(np.float64)
        match self._distance:
            case "<->":
                found = np.sqrt(((one - other) ** 2).sum(axis=1))
            case "<+>":
                found = np.abs(one - other).sum(axis=1)
            case "<#>":
                found = -np.einsum("ij,ij->i", one, other)
            case _:
                lengths = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
                found = 1 - np.clip(np.einsum("ij,ij->i", one, other) / lengths, -1, 1)
        return np.asarray(found, dtype=np.float64)


class _BitStrings:
    """The same of bit strings: differences are counted, or what is shared."""

    least = 0.0

    def __init__(self, distance: str, queries: Sequence[Query], dimensions: int) -> None:
        self._measure: Callable[[Bits, Bits], Doubles] = _hamming if distance == "<~>" else _jaccard
        bits = np.array([[character == "1" for character in query.text] for query in queries], dtype=bool)
        self._queries = _words(np.packbits(bits.reshape(-1, dimensions), axis=1))
        self._rows = self._queries

    def rough(self, values: NDArray[np.void], worst: Doubles) -> tuple[Floats, Doubles, Doubles]:
        self._rows = _words(values)
        rough = [self._measure(self._rows, query) for query in self._queries]
        slack = np.full(len(self._queries), _SLACK)
        return np.array(rough, dtype=np.float32), worst + slack, slack

    def exact(self, rows: NDArray[np.intp], queries: NDArray[np.intp]) -> Doubles:
        return self._measure(self._rows[rows], self._queries[queries])


def _words(values: NDArray[np.generic]) -> Bits:
    """Bytes as words of 64 bits, the last one filled up with zeros."""
    width = -(-values.shape[1] // 8) * 8
    padded = np.zeros((len(values), width), dtype=np.uint8)
    padded[:, : values.shape[1]] = values
    return padded.view(np.uint64)


def _hamming(one: Bits, other: Bits) -> Doubles:
    return np.asarray(np.bitwise_count(one ^ other).sum(axis=-1), dtype=np.float64)


def _jaccard(one: Bits, other: Bits) -> Doubles:
    shared = np.bitwise_count(one & other).sum(axis=-1, dtype=np.float64)
    either = np.bitwise_count(one | other).sum(axis=-1, dtype=np.float64)
    return np.where(shared == 0, 1.0, 1 - shared / either)


def _batches(rows: Iterator[memoryview], size: int) -> Iterator[list[memoryview]]:
    count = max(1, min(_MOST_ROWS, _BATCH_BYTES // size))
    while batch := list(islice(rows, count)):
        yield batch
