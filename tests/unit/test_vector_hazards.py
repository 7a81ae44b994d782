"""Which releases are known to break vector indexes."""

import re

import pytest

from fleet.vectors import Method
from fleet.vectors.hazards import HAZARDS, Hazard, Work, forbidden, hazards_of
from rules import AlertRule, load_shipped

GOOD_SERVER = 180_000


def names(found: list[Hazard]) -> set[str]:
    return {hazard.name for hazard in found}


@pytest.mark.parametrize(
    ("version", "hazardous"),
    [(130_005, False), (140_000, True), (140_003, True), (140_004, False), (150_000, False), (180_006, False)],
)
def test_concurrent_builds_of_postgresql_14_until_14_4(version: int, hazardous: bool) -> None:
    hazard = forbidden(hazards_of(version), Work.CONCURRENTLY)
    assert (hazard is not None) == hazardous
    if hazard is not None:
        assert hazard.remedy == "upgrade PostgreSQL to 14.4 or later, then build the index again"


@pytest.mark.parametrize(
    ("version", "hazardous"),
    [("0.5.1", False), ("0.6.0", True), ("0.8.1", True), ("0.8.2", False), ("0.8.7", False)],
)
def test_parallel_builds_of_hnsw_until_0_8_2(version: str, hazardous: bool) -> None:
    found = hazards_of(GOOD_SERVER, version, Method.HNSW)
    assert ("CVE-2026-3172" in names(found)) == hazardous
    assert (forbidden(found, Work.PARALLEL_BUILD) is not None) == hazardous


@pytest.mark.parametrize(
    ("version", "method", "expected"),
    [
        ("0.8.2", Method.HNSW, {"HNSW corruption", "HNSW not repaired", "HNSW duplicate neighbours"}),
        ("0.8.3", Method.HNSW, {"HNSW not repaired", "HNSW duplicate neighbours"}),
        ("0.8.6", Method.HNSW, {"HNSW duplicate neighbours"}),
        ("0.8.4", Method.IVFFLAT, {"IVFFlat build of small tables", "IVFFlat overflow"}),
        ("0.3.0", Method.IVFFLAT, {"IVFFlat corruption", "IVFFlat overflow"}),
        ("0.8.6", Method.IVFFLAT, {"IVFFlat overflow"}),
        ("0.8.7", None, set()),
        ("1.0", None, set()),
    ],
)
def test_each_kind_of_index_has_its_own(version: str, method: Method | None, expected: set[str]) -> None:
    assert names(hazards_of(GOOD_SERVER, version, method)) == expected


def test_a_server_without_pgvector_has_none_of_its_hazards() -> None:
    assert hazards_of(GOOD_SERVER) == []
    assert {hazard.product for hazard in hazards_of(140_001)} == {"PostgreSQL"}


@pytest.mark.parametrize("hazard", HAZARDS, ids=lambda hazard: hazard.name)
def test_each_names_a_range_and_its_source(hazard: Hazard) -> None:
    assert hazard.first < hazard.mended
    assert re.fullmatch(r"https://(github\.com/pgvector/pgvector|www\.postgresql\.org/docs/release)/\S+", hazard.source)


def test_the_shipped_alert_is_about_releases_of_this_table() -> None:
    shipped = (rule for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule))
    (text,) = (rule.query.text for rule in shipped if rule.name == "VectorExtensionHazard")
    (pattern,) = re.findall(r'version=~"(.+)"', text)
    told = re.compile(pattern.replace("\\\\", "\\"))
    releases = [
        "0.4.4",
        "0.5.1",
        "0.6.2",
        "0.7.4",
        *(f"0.8.{patch}" for patch in range(12)),
        "0.9.0",
        "0.10.1",
        "1.0.0",
    ]
    flagged = [version for version in releases if told.fullmatch(version)]
    assert {"0.5.1", "0.7.4", "0.8.0", "0.8.3"} <= set(flagged)
    for version in flagged:
        assert hazards_of(GOOD_SERVER, version), version
