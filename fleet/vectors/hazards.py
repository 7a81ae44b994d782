"""Releases of PostgreSQL and pgvector that are known to break indexes, or to be broken into by building them.

Sources: each hazard names its own; pgvector's are in its CHANGELOG, PostgreSQL's in its release notes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fleet.vectors.recommended import Method, Version, parse_version

_CHANGELOG = "https://github.com/pgvector/pgvector/blob/master/CHANGELOG.md"
_ISSUES = "https://github.com/pgvector/pgvector/issues"
_RELEASES = "https://www.postgresql.org/docs/release"
_WRAPS_BYTES = 2**31  # sizes are counted in 32 bits: less cannot wrap around


class Work(StrEnum):
    """What must not be done while a hazard is there."""

    CONCURRENTLY = "concurrently"  # CREATE INDEX or REINDEX CONCURRENTLY, of any index
    PARALLEL_BUILD = "parallel build"  # a build that workers help with


@dataclass(frozen=True, slots=True)
class Hazard:
    """A fault of a `product`, pgvector or PostgreSQL, in the releases from `first` to before `mended`.

    `method` is the kind of vector index concerned; None: any index. `forbids` is what must not be done until the
    product is upgraded; None: building is no worse than leaving it. `rebuild`: an index that lived under such a release
    may be broken, and is to be built again after the upgrade. It concerns builds that take `least_bytes` of memory or
    more; where it is not `grave`, it costs no rows and no data: it is told, and is no reason to hurry.
    """

    name: str
    product: str
    first: Version
    mended: Version
    trouble: str
    source: str
    method: Method | None = None
    forbids: Work | None = None
    rebuild: bool = False
    least_bytes: int = 0
    grave: bool = True

    @property
    def remedy(self) -> str:
        said = f"upgrade {self.product} to {'.'.join(map(str, self.mended))} or later"
        return f"{said}, then build the index again" if self.rebuild else said


HAZARDS = (
    Hazard(
        "concurrent build loses rows",
        "PostgreSQL",
        (14, 0),
        (14, 4),
        "an index made with CONCURRENTLY may miss rows that were updated meanwhile",
        f"{_RELEASES}/14.4/",
        forbids=Work.CONCURRENTLY,
        rebuild=True,
    ),
    Hazard(
        "CVE-2026-3172",
        "pgvector",
        (0, 6, 0),
        (0, 8, 2),
        "a parallel HNSW build may write beyond its memory: data of other tables leak, or the server crashes",
        f"{_ISSUES}/959",
        Method.HNSW,
        forbids=Work.PARALLEL_BUILD,
    ),
    Hazard(
        "HNSW locking",
        "pgvector",
        (0, 6, 0),
        (0, 7, 4),
        "parallel HNSW builds lock wrongly",
        _CHANGELOG,
        Method.HNSW,
        forbids=Work.PARALLEL_BUILD,
        rebuild=True,
    ),
    Hazard(
        "HNSW corruption",
        "pgvector",
        (0, 5, 0),
        (0, 8, 3),
        "a vacuum beside inserts may break an HNSW index: searches and later vacuums fail",
        "https://github.com/pgvector/pgvector/pull/988",
        Method.HNSW,
        rebuild=True,
    ),
    Hazard(
        "HNSW not repaired",
        "pgvector",
        (0, 5, 0),
        (0, 8, 4),
        "a vacuum beside inserts may fail with 'hnsw graph not repaired', an insert with 'cannot load deleted element'",
        f"{_ISSUES}/993",
        Method.HNSW,
        rebuild=True,
    ),
    Hazard(
        "HNSW duplicate neighbours",
        "pgvector",
        (0, 5, 0),
        (0, 8, 7),
        "a vacuum beside inserts may enter a neighbour twice: recall decays",
        "https://github.com/pgvector/pgvector/pull/1010",
        Method.HNSW,
        rebuild=True,
        grave=False,  # the recall is watched
    ),
    Hazard(
        "IVFFlat build of small tables",
        "pgvector",
        (0, 8, 4),
        (0, 8, 5),
        "the build of an IVFFlat index on few rows asks for the memory of many, and may be refused",
        f"{_ISSUES}/995",
        Method.IVFFLAT,
        grave=False,
    ),
    Hazard(
        "IVFFlat overflow",
        "pgvector",
        (0, 0, 0),
        (0, 8, 7),
        "the build of an IVFFlat index may write beyond its memory (on 32-bit systems CVE-2026-18022 too)",
        f"{_ISSUES}/1036",
        Method.IVFFLAT,
        least_bytes=_WRAPS_BYTES,
    ),
    Hazard(
        "IVFFlat corruption",
        "pgvector",
        (0, 2, 7),
        (0, 3, 1),
        "inserts silently break IVFFlat indexes: not all rows are found",
        _CHANGELOG,
        Method.IVFFLAT,
        rebuild=True,
    ),
)


def hazards_of(server_version: int, vector_version: str | None = None, method: Method | None = None) -> list[Hazard]:
    """Those of a server (its server_version_num: 140003) and of pgvector as the catalogue names it (0.8.1).

    `vector_version` None: there is none; its faults are not of concern. `method` None: whatever the index; else those
    of that kind of vector index, and those of any index.
    """
    major, minor = divmod(server_version, 10_000)
    running: dict[str, Version] = {"PostgreSQL": (major, minor)}
    if vector_version is not None:
        running["pgvector"] = parse_version(vector_version)
    return [
        hazard
        for hazard in HAZARDS
        if hazard.product in running
        and hazard.first <= running[hazard.product] < hazard.mended
        and (method is None or hazard.method in {None, method})
    ]


def forbidden(hazards: Iterable[Hazard], work: Work) -> Hazard | None:
    """The first of the hazards that forbids such work."""
    return next((hazard for hazard in hazards if hazard.forbids is work), None)
