"""What pgvector's README and change log say: defaults, limits and rules of thumb, by access method, type and version.

Source: pgvector's README ("HNSW", "IVFFlat", "Index Build Time", "Half-Precision Indexing") and CHANGELOG.
"""

from __future__ import annotations

from enum import StrEnum
from math import ceil, sqrt

Version = tuple[int, ...]

DEFAULT_LISTS, DEFAULT_PROBES = 100, 1
DEFAULT_M, DEFAULT_EF_CONSTRUCTION, DEFAULT_EF_SEARCH = 16, 64, 40
MOST_EF_SEARCH, MOST_LISTS = 1000, 32768
HNSW_SINCE: Version = (0, 5, 0)
HALFVEC_SINCE: Version = (0, 7, 0)
ITERATIVE_SCANS_SINCE: Version = (0, 8, 0)
_FEW_ROWS = 1_000_000
_DIMENSIONS = {"vector": 2000, "halfvec": 4000, "bit": 64000}


class Method(StrEnum):
    HNSW = "hnsw"
    IVFFLAT = "ivfflat"


def parse_version(text: str) -> Version:
    """Of an extension, as the catalogue names it: "0.8.1" is (0, 8, 1)."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def most_dimensions(type_name: str) -> int | None:
    """How many dimensions a column of this type may have to be indexed; None where there is no such limit."""
    return _DIMENSIONS.get(type_name)


def lists_for(rows: float) -> int:
    """Lists of an IVFFlat index: rows / 1000 up to a million rows, their square root above."""
    lists = rows / 1000 if rows <= _FEW_ROWS else sqrt(rows)
    return max(1, min(MOST_LISTS, ceil(lists)))


def probes_for(lists: int) -> int:
    """Lists to search: the square root of all, to begin with."""
    return max(1, round(sqrt(lists)))


def parse_options(method: Method, options: dict[str, str]) -> dict[str, int]:
    """Storage parameters of an index, those that are not set with pgvector's defaults."""
    defaults = (
        {"lists": DEFAULT_LISTS}
        if method is Method.IVFFLAT
        else {"m": DEFAULT_M, "ef_construction": DEFAULT_EF_CONSTRUCTION}
    )
    return defaults | {name: int(value) for name, value in options.items() if name in defaults}


def search_setting(method: Method) -> str:
    """The setting that trades speed for recall."""
    return "hnsw.ef_search" if method is Method.HNSW else "ivfflat.probes"


def default_search(method: Method) -> int:
    return DEFAULT_EF_SEARCH if method is Method.HNSW else DEFAULT_PROBES
