"""What to change about a vector index, and what that is expected to give; pure, of facts that were read before.

What is expected of size, memory and time is reckoned (costs.py); of recall it is measured on the index where only a
setting changes, and else scaled from there, or what such indexes usually have: the actions measure it before they swap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log, sqrt
from typing import Literal

import numpy as np

from fleet.vectors.costs import Shape, build_memory, build_seconds, index_bytes, shape_of
from fleet.vectors.hazards import hazards_of
from fleet.vectors.health import MANY_ROWS, Health, Server
from fleet.vectors.plans import Reason, Use
from fleet.vectors.recall import Point, reaching
from fleet.vectors.recommended import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_EF_SEARCH,
    DEFAULT_M,
    HALFVEC_SINCE,
    HNSW_SINCE,
    Method,
    lists_for,
    parse_version,
    probes_for,
    search_setting,
)

Level = Literal["mend", "improve", "consider"]
_ORDER: tuple[Level, ...] = ("mend", "improve", "consider")

# the guide's, and the shipped rules': from when an IVFFlat index has outgrown its lists, or has the wrong number
_OUTGROWN_ROWS, _OUTGROWN_SHARE = 100_000, 0.8
_LISTS_MATTER_ROWS, _NEAR_ENOUGH = 100_000, 0.25
_BLOATED, _BLOATED_BYTES = 1.5, 10 * 2**20
_DEAD = 0.2  # of all row versions
_HALF = 0.75  # of the size, from which half precision is a gain
_MANY_SCANS = 100  # of a table from end to end: dumps and probes do so too
_LEAST_ODDS, _SAME = 1e-4, 1e-6  # of a recall
# ef_search and recall@10 of HNSW (16, 64) on 100,000 embeddings of 1,536 dimensions, measured
_HNSW_USUALLY = ((20, 0.79), (40, 0.90), (80, 0.955), (160, 0.98), (400, 0.993))


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do and why; `action` with `parameters` does it, where there is one. `expected` are figures after it."""

    level: Level
    subject: str
    text: str
    why: str = ""
    action: str | None = None
    parameters: Mapping[str, str | int | bool] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of an index; `curve` is what was measured of it, and `promised` its policy's recall.

    `use` None: the planner could not be asked.
    """

    health: Health
    server: Server
    use: Use | None = None
    misfits: Sequence[Reason] = ()
    curve: Sequence[Point] = ()
    promised: float | None = None


def advise(known: Known) -> list[Advice]:
    """What is wrong first, then what would gain, then what may be considered."""
    found = [*_state(known), *_hazards(known), *_lists(known), *_recall(known), *_bloat(known), *_method(known)]
    return sorted(found, key=lambda advice: _ORDER.index(advice.level))


def expected(known: Known, shape: Shape) -> dict[str, float]:
    """What an index of this shape takes on the same rows; empty where nobody knows how many there are."""
    rows = known.health.index.rows
    if not rows:
        return {}
    figures = {"size_bytes": index_bytes(shape, rows), "build_memory_bytes": build_memory(shape, rows)}
    if (seconds := known.health.distance_seconds) is not None:
        figures["build_seconds"] = build_seconds(shape, rows, seconds)
    return figures


def recall_at(curve: Sequence[Point], setting: float) -> float | None:
    """Between the settings that were measured, the least and the largest beyond them; None where none was.

    The odds of recall are near a power of the setting: a line where both are logarithms.
    """
    if not curve:
        return None
    points = sorted(curve, key=lambda point: point.setting)
    ratios = np.clip([point.recall.ratio for point in points], _LEAST_ODDS, 1 - _LEAST_ODDS)
    odds = np.interp(log(setting), [log(point.setting) for point in points], np.log(ratios / (1 - ratios)))
    return float(1 / (1 + np.exp(-odds)))


def recall_with(curve: Sequence[Point], lists: int, new_lists: int, probes: int) -> float | None:
    """Of an IVFFlat index with other lists: recall follows probes / sqrt(lists), as measured with 100 and 316 lists."""
    return recall_at(curve, probes * sqrt(lists / new_lists))


def _state(known: Known) -> Iterator[Advice]:
    health, index = known.health, known.health.index
    if not index.valid:
        text = "drop it and build it again: it is invalid, no search uses it and every write pays for it"
        yield Advice("mend", "invalid", text, action="drop_invalid_index")
        return
    if known.use is not None and not known.use.used:
        small = (index.rows or 0) < MANY_ROWS
        for reason in known.use.reasons:
            level: Level = "consider" if small else "mend"
            yield Advice(level, "not used", reason.remedy or "nothing to do while the table is small", reason.text)
    elif health.scans == 0 and health.table_scans > _MANY_SCANS and (index.rows or 0) >= MANY_ROWS:
        text = "order by the indexed expression and its distance, with a limit, or drop it"
        why = f"never used, while the table was read from end to end {health.table_scans:,} times"
        yield Advice("improve", "not used", text, why)
    for reason in known.misfits:
        yield Advice("mend" if health.scans == 0 else "consider", "shape of searches", reason.remedy, reason.text)


def _hazards(known: Known) -> Iterator[Advice]:
    server, index = known.server, known.health.index
    shape = shape_of(index)
    need = inf if shape is None else build_memory(shape, index.rows or inf)  # what nobody can reckon may be large
    for product in ("pgvector", "PostgreSQL"):
        found = [h for h in hazards_of(server.version, server.vector_version, index.method) if h.product == product]
        if not found:
            continue
        mended = max(hazard.mended for hazard in found)
        text = f"upgrade {product} to {'.'.join(map(str, mended))} or later"
        if product == "pgvector" and parse_version(server.installed_version or "0") >= mended:
            text += " (alter extension vector update)"
        if any(hazard.rebuild for hazard in found):
            text += ", then build the index again"
        grave = any(hazard.grave and hazard.least_bytes <= need for hazard in found)
        level: Level = "mend" if grave else "consider"
        yield Advice(level, "version", text, "; ".join(f"{hazard.name}: {hazard.trouble}" for hazard in found))


def _lists(known: Known) -> Iterator[Advice]:
    """An IVFFlat index keeps the centres of the rows that were there at its build."""
    health, index = known.health, known.health.index
    rows, built = index.rows, health.build_rows
    if index.method is not Method.IVFFLAT or not rows:
        return
    lists, right = index.options["lists"], lists_for(rows)
    grown = rows - built if built is not None else 0.0
    learned = built is None or built >= lists
    if built is not None and not learned:
        why = f"built on {built:,.0f} rows, fewer than its {lists} lists"
    elif grown > _OUTGROWN_ROWS or (rows > MANY_ROWS and grown > _OUTGROWN_SHARE * rows):
        why = f"{grown:,.0f} of {rows:,.0f} rows are new since it was built"
    elif rows > _LISTS_MATTER_ROWS and not 0.5 <= lists / right <= 2:
        why = f"{lists} lists for {rows:,.0f} rows; pgvector advises {right}"
    else:
        return
    wanted = lists if abs(lists - right) <= _NEAR_ENOUGH * right else right
    probes = probes_for(wanted)
    figures: dict[str, float] = {}
    if (shape := shape_of(index)) is not None:
        figures = expected(known, replace(shape, options={"lists": wanted}))
    # lists that were learned from nothing say nothing of those that will be
    if learned and (recall := recall_with(known.curve, lists, wanted, probes)) is not None:
        figures["recall_ratio"] = recall
    text = f"build it again with {wanted} lists, and search {probes} of them"
    parameters = {"lists": wanted} if wanted != lists else {}
    yield Advice("improve" if learned else "mend", "lists", text, why, "rebuild_vector_index", parameters, figures)


def _recall(known: Known) -> Iterator[Advice]:
    """Roles whose setting finds less than is promised, and the least setting that finds enough."""
    index, promised = known.health.index, known.promised
    if not known.curve or promised is None:
        return
    enough = reaching(known.curve, promised)
    name = search_setting(index.method)
    for role, setting in known.health.search.items():
        at = recall_at(known.curve, setting)
        if at is None or at >= promised - _SAME:
            continue
        who = f"the role {role}" if role else "whoever sets nothing"
        why = f"{name} = {setting}, which {who} has, finds {at:.0%} and {promised:.0%} are promised"
        if enough is None:
            text = f"no {name} that was tried is enough: build the index again, or otherwise"
            yield Advice("mend", "recall", text, why, "rebuild_vector_index")
        else:
            figures = {"recall_ratio": enough.recall.ratio, "search_seconds": enough.seconds}
            yield Advice("mend", "recall", f"set {name} = {enough.setting}", why, expected=figures)


def _bloat(known: Known) -> Iterator[Advice]:
    health, index = known.health, known.health.index
    shape, rows = shape_of(index), index.rows
    if shape is None or not rows or index.predicate:
        return
    clean = expected(known, shape)
    if index.size_bytes > max(_BLOATED * clean["size_bytes"], clean["size_bytes"] + _BLOATED_BYTES):
        why = f"it takes {index.size_bytes / clean['size_bytes']:.1f} times what its rows need"
        yield Advice("improve", "bloat", "build it again in place", why, "reindex", expected=clean)
    dead = health.dead_rows / (health.dead_rows + rows)
    if dead > _DEAD and rows >= MANY_ROWS:
        # pgvector's README, "Vacuuming": to vacuum an HNSW index takes a while, sooner after a reindex
        first = "reindex, then vacuum" if index.method is Method.HNSW else "vacuum"
        yield Advice("improve", "dead rows", f"{first} the table", f"{dead:.0%} of its rows are dead", "vacuum")
    need = clean["build_memory_bytes"]
    if need > known.server.maintenance_bytes:
        slow = "would be many times slower" if index.method is Method.HNSW else "would fail"
        text = f"give the next build maintenance_work_mem = '{need / 2**20 * 1.1:.0f}MB'; the actions do so themselves"
        yield Advice("consider", "memory", text, f"with the server's own, a plain build or REINDEX {slow}")


def _method(known: Known) -> Iterator[Advice]:
    index = known.health.index
    shape, version = shape_of(index), parse_version(known.server.vector_version)
    if shape is None or not index.valid or (index.rows or 0) < MANY_ROWS:
        return
    hnsw = Shape(
        Method.HNSW,
        shape.type_name,
        shape.dimensions,
        {"m": DEFAULT_M, "ef_construction": DEFAULT_EF_CONSTRUCTION},
    )
    if index.method is Method.IVFFLAT and version >= HNSW_SINCE:
        usually = dict(_HNSW_USUALLY)[DEFAULT_EF_SEARCH]
        short = (
            known.promised is not None
            and bool(known.curve)
            and max(p.recall.ratio for p in known.curve) < known.promised
        )
        figures = expected(known, hnsw) | {"recall_ratio": usually}
        text = "upgrade it to HNSW: faster searches at the same recall, and nothing to rebuild as rows come in"
        why = "the recall is what such an index usually has at ef_search 40; the action measures before it swaps"
        yield Advice("improve" if short else "consider", "method", text, why, "upgrade_vector_index", {}, figures)
    if shape.type_name == "vector" and version >= HALFVEC_SINCE:
        figures = expected(known, replace(hnsw, type_name="halfvec"))
        cast = f"searches must then order by the column cast to halfvec({shape.dimensions})"
        if index.method is Method.IVFFLAT:
            text = "or upgrade it to HNSW of half precision: about half the size, the same recall within 0.01"
            yield Advice("consider", "half precision", text, cast, "upgrade_vector_index", {"halfvec": True}, figures)
        elif figures["size_bytes"] < _HALF * index.size_bytes:
            text = "index half precision, in a migration: about half the size, the same recall within 0.01"
            yield Advice("consider", "half precision", text, cast, expected=figures)
