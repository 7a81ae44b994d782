"""Vector indexes with recall, curve and hazards, made of samples for people; pure."""

from __future__ import annotations

from daemon.views.samples import Samples
from daemon.views.vectors import Measured, vector_indexes
from fleet.policy import TIER_DEFAULTS, Tier

NOW = 1_700_000_000.0
DAY = 86_400.0
DOCS = {"datname": "app", "schemaname": "public", "relname": "docs"}
HNSW = DOCS | {"indexrelname": "docs_hnsw"}
QA = TIER_DEFAULTS[Tier.QA]


def samples(*said: tuple[str, dict[str, str], float]) -> Samples:
    return Samples.of(said)


def vector_samples(**figures: float) -> Samples:
    info = HNSW | {"method": "hnsw", "opclass": "vector_cosine_ops", "column": "embedding", "dimensions": "3"}
    return samples(
        ("custode_vector_index_info", info, 1.0),
        ("custode_vector_extension_info", {"datname": "app", "version": "0.8.1"}, 1.0),
        ("custode_server_info", {"server_version_num": "180006"}, 1.0),
        *((f"custode_{name}", HNSW, value) for name, value in figures.items()),
    )


def test_a_vector_index_with_its_recall_and_hazards() -> None:
    (found,) = vector_indexes(
        vector_samples(
            vector_index_rows=1000.0,
            vector_index_build_rows=750.0,
            vector_index_max_connections=16.0,
            vector_index_ef_construction=64.0,
            vector_index_recall_ratio=0.93,
            vector_index_recall_low_ratio=0.9,
            vector_index_recall_high_ratio=0.95,
            vector_index_search_setting=40.0,
            vector_index_recall_probe_timestamp_seconds=NOW,
        ),
        QA,
    )
    assert (found.method, found.setting_name, found.promised) == ("hnsw", "hnsw.ef_search", 0.9)
    assert (found.parameters, found.new_ratio) == ({"m": 16.0, "ef_construction": 64.0}, 0.25)
    assert found.recall is not None
    assert (found.recall.ratio, found.recall.low, found.recall.exact, found.recall.setting) == (0.93, 0.9, False, 40.0)
    assert "CVE-2026-3172" in {threat.name for threat in found.hazards}
    assert found.curve is None


def test_the_recall_to_go_by_is_the_newest_and_of_two_at_once_the_exact_one() -> None:
    figures = {"vector_index_recall_ratio": 0.93, "vector_index_exact_recall_ratio": 0.7}
    for probed, tested, exact in ((NOW, NOW - DAY, False), (NOW - DAY, NOW, True), (NOW, NOW, True)):
        moments = {
            "vector_index_recall_probe_timestamp_seconds": probed,
            "probe_recall_measured_timestamp_seconds": tested,
        }
        (found,) = vector_indexes(vector_samples(**figures, **moments), QA)
        assert found.recall is not None
        assert found.recall.exact is exact


def test_the_curve_is_that_of_the_newest_run_that_tried_several_settings() -> None:
    key = ("app", "public", "docs", "docs_hnsw")
    curve = {
        "recall_at_100_ratio": 0.98,
        "search_at_100_seconds": 0.004,
        "recall_at_20_ratio": 0.8,
        "wanted_recall_ratio": 0.9,
        "wanted_setting": 100,
        "recall_at_x_ratio": 5,
    }
    runs = [
        Measured(key, "cheap", NOW, {"estimated_recall_ratio": 0.9}),
        Measured(key, "newer", NOW - 1, curve),
        Measured(key, "older", NOW - 2, curve | {"recall_at_40_ratio": 0.9}),
        Measured((*key[:3], "other"), "other", NOW, curve),
    ]
    (found,) = vector_indexes(vector_samples(), QA, runs)
    assert found.curve is not None
    assert (found.curve.run_id, found.curve.wanted_setting) == ("newer", "100")
    assert [(one.setting, one.ratio, one.seconds) for one in found.curve.points] == [
        (20, 0.8, None),
        (100, 0.98, 0.004),
    ]
