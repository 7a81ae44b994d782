"""The vector indexes of an environment: how they are built, what searches through them find, what threatens them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.views.samples import INDEX, Key, Question, Samples, flag
from fleet.policy import Policy
from fleet.vectors.hazards import hazards_of
from fleet.vectors.recommended import Method, search_setting

VECTORS = Question(
    (
        "vector_index_info",
        "vector_extension_info",
        "vector_index_lists",
        "vector_index_max_connections",
        "vector_index_ef_construction",
        "vector_index_size_bytes",
        "vector_index_expected_size_bytes",
        "vector_index_rows",
        "vector_index_build_rows",
        "vector_index_dead_ratio",
        "vector_index_before_extension",
        "vector_index_parameters_changed",
        "vector_index_recall_ratio",
        "vector_index_recall_low_ratio",
        "vector_index_recall_high_ratio",
        "vector_index_recall_queries",
        "vector_index_search_seconds",
        "vector_index_search_setting",
        "vector_index_recall_probe_timestamp_seconds",
        "vector_index_exact_recall_ratio",
        "vector_index_exact_recall_low_ratio",
        "vector_index_exact_recall_high_ratio",
        "probe_recall_measured_timestamp_seconds",
    )
)
_POINT = re.compile(r"recall_at_(\d+)_ratio")


@dataclass(frozen=True, slots=True)
class Recall:
    """What searches find of the nearest rows, 0 to 1, with its bounds (95 % certainty), measured at `at`.

    `exact`: all rows were compared; else it is against what the index finds at a high setting. `setting` is
    hnsw.ef_search or ivfflat.probes, `seconds` the median time of a search.
    """

    ratio: float
    low: float | None
    high: float | None
    exact: bool
    setting: float | None
    seconds: float | None
    queries: float | None
    at: float | None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Recall and seconds of a search at one setting."""

    setting: int
    ratio: float
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """By the last run of probe_recall that tried several settings; `wanted_setting` is the least that reaches
    `wanted_ratio`, where one does.
    """

    run_id: str
    at: float | None
    points: tuple[CurvePoint, ...]
    wanted_ratio: float | None
    wanted_setting: str | None


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a run of probe_recall on one index, named by values of INDEX."""

    index: Key
    run_id: str
    at: float | None
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Threat:
    """A fault of the releases in use that concerns the index."""

    name: str
    trouble: str
    remedy: str
    source: str


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """`new_ratio` is the share of the rows that came after the build; `promised` what recall the policy promises."""

    datname: str
    schemaname: str
    table: str
    name: str
    method: str
    opclass: str
    column: str
    dimensions: str | None
    parameters: Mapping[str, float]
    setting_name: str
    size_bytes: float | None
    expected_size_bytes: float | None
    rows: float | None
    build_rows: float | None
    new_ratio: float | None
    dead_ratio: float | None
    before_extension: bool | None
    parameters_changed: bool | None
    promised: float | None
    estimated: Recall | None
    exact: Recall | None
    curve: Curve | None
    hazards: tuple[Threat, ...]

    @property
    def recall(self) -> Recall | None:
        """The one to go by: the exact one, unless the other is newer."""
        known = [one for one in (self.exact, self.estimated) if one is not None]
        return max(known, key=lambda one: one.at or 0.0, default=None)


def vector_indexes(samples: Samples, policy: Policy, measured: Iterable[Measured] = ()) -> list[VectorIndex]:
    """The largest first. `measured` are runs of probe_recall, the newest first."""
    server = next((one.get("server_version_num", "") for one in samples.infos("server_info")), "")
    versions = {one.get("datname", ""): one.get("version") for one in samples.infos("vector_extension_info")}
    curves = _curves(measured)
    by = {name: samples.by(name, *INDEX) for name in VECTORS.metrics[2:]}
    found = []
    for labels in samples.infos("vector_index_info"):
        key = tuple([labels.get(label, "") for label in INDEX])
        figures = {name: values.get(key) for name, values in by.items()}
        rows, built = figures["vector_index_rows"], figures["vector_index_build_rows"]
        method = labels.get("method", "")
        datname, schemaname, table, name = key
        index = VectorIndex(
            datname,
            schemaname,
            table,
            name,
            method,
            labels.get("opclass", ""),
            labels.get("column", ""),
            labels.get("dimensions") or None,
            _parameters(figures),
            search_setting(Method(method)) if method in set(Method) else "",
            figures["vector_index_size_bytes"],
            figures["vector_index_expected_size_bytes"],
            rows,
            built,
            None if not rows or built is None else max(0.0, 1 - built / rows),
            figures["vector_index_dead_ratio"],
            flag(figures["vector_index_before_extension"]),
            flag(figures["vector_index_parameters_changed"]),
            policy.vectors.promised(method),
            _estimated(figures),
            _exact(figures),
            curves.get(key),
            _threats(server, versions.get(datname), method),
        )
        found.append(index)
    return sorted(found, key=lambda one: (-(one.size_bytes or 0.0), one.datname, one.schemaname, one.name))


def _parameters(figures: Mapping[str, float | None]) -> dict[str, float]:
    """As CREATE INDEX calls them."""
    called = {
        "lists": "vector_index_lists",
        "m": "vector_index_max_connections",
        "ef_construction": "vector_index_ef_construction",
    }
    return {name: value for name, metric in called.items() if (value := figures[metric]) is not None}


def _estimated(figures: Mapping[str, float | None]) -> Recall | None:
    ratio = figures["vector_index_recall_ratio"]
    if ratio is None:
        return None
    return Recall(
        ratio,
        figures["vector_index_recall_low_ratio"],
        figures["vector_index_recall_high_ratio"],
        False,
        figures["vector_index_search_setting"],
        figures["vector_index_search_seconds"],
        figures["vector_index_recall_queries"],
        figures["vector_index_recall_probe_timestamp_seconds"],
    )


def _exact(figures: Mapping[str, float | None]) -> Recall | None:
    ratio = figures["vector_index_exact_recall_ratio"]
    if ratio is None:
        return None
    low, high = figures["vector_index_exact_recall_low_ratio"], figures["vector_index_exact_recall_high_ratio"]
    return Recall(ratio, low, high, True, None, None, None, figures["probe_recall_measured_timestamp_seconds"])


def _curves(measured: Iterable[Measured]) -> dict[Key, Curve]:
    found: dict[Key, Curve] = {}
    for one in measured:
        points = [
            CurvePoint(int(match[1]), float(value), one.figures.get(f"search_at_{match[1]}_seconds"))
            for name, value in one.figures.items()
            if (match := _POINT.fullmatch(name)) is not None
        ]
        if len(points) > 1 and one.index not in found:
            wanted = one.figures.get("wanted_setting")
            found[one.index] = Curve(
                one.run_id,
                one.at,
                tuple(sorted(points, key=lambda point: point.setting)),
                one.figures.get("wanted_recall_ratio"),
                None if wanted is None else str(wanted),
            )
    return found


def _threats(server: str, vector: str | None, method: str) -> tuple[Threat, ...]:
    if not server.isdigit() or method not in set(Method):
        return ()
    return tuple(
        Threat(one.name, one.trouble, one.remedy, one.source) for one in hazards_of(int(server), vector, Method(method))
    )
