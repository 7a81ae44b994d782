"""What is advised of which facts."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.vectors import Method
from fleet.vectors.advice import Advice, Known, advise, recall_at, recall_with
from fleet.vectors.health import Health, Server
from fleet.vectors.plans import Cause, Reason, Use
from fleet.vectors.recall import Point, Recall
from tests.vector_indexes import vector_index

SERVER = Server(180_001, "0.8.7", "0.8.7", maintenance_bytes=2**31, workers=2)
USED = Use("idx_embedding", "idx_embedding", 10.0)


def point(setting: int, recall: float, seconds: float = 0.002) -> Point:
    return Point(setting, Recall(recall, recall, recall, 40), seconds)


# as measured, with 100 lists
CURVE = [point(1, 0.60), point(5, 0.905, 0.0077), point(10, 0.96, 0.014), point(20, 0.99, 0.028)]


def known(method: Method = Method.IVFFLAT, *, health: dict[str, Any] | None = None, **fields: Any) -> Known:
    """A healthy index; keywords of `Known`, of its health, and for whatever else of the index."""
    of_known: dict[str, Any] = {name: fields.pop(name) for name in Known.__slots__ if name in fields}
    rows = fields.get("rows", 100_000.0)
    facts: dict[str, Any] = {
        "scans": 5,
        "table_scans": 0,
        "dead_rows": 0.0,
        "build_rows": rows,
        "distance_seconds": 3e-7,
        "search": {"": 10 if method is Method.IVFFLAT else 40},
    }
    health_ = Health(index=vector_index(method, **fields), **facts | (health or {}))
    defaults: dict[str, Any] = {"server": SERVER, "use": USED}
    return Known(health_, **defaults | of_known)


def about(subject: str, one: Known) -> Advice | None:
    found = [advice for advice in advise(one) if advice.subject == subject]
    assert len(found) <= 1
    return found[0] if found else None


def needed(subject: str, one: Known) -> Advice:
    advice = about(subject, one)
    assert advice is not None
    return advice


def test_a_healthy_hnsw_index_on_halves_is_left_alone() -> None:
    assert advise(known(Method.HNSW, type_name="halfvec", size_bytes=410_000_000)) == []


def test_a_healthy_ivfflat_index_may_be_upgraded_and_nothing_more() -> None:
    advice, half = advise(known())
    assert (half.level, half.action, half.parameters) == ("consider", "upgrade_vector_index", {"halfvec": True})
    assert half.expected["size_bytes"] == pytest.approx(410e6, rel=0.01)
    assert (advice.level, advice.subject, advice.action) == ("consider", "method", "upgrade_vector_index")
    assert advice.expected["size_bytes"] == pytest.approx(819e6, rel=0.01)
    assert advice.expected["build_memory_bytes"] == pytest.approx(688e6, rel=0.02)
    assert advice.expected["recall_ratio"] == 0.90
    assert advice.expected["build_seconds"] > 10


def test_no_upgrade_where_pgvector_is_too_old_or_the_table_small() -> None:
    old = Server(150_001, "0.4.4", None, 2**31, 2)
    assert about("method", known(server=old)) is None
    assert about("method", known(rows=5000.0)) is None


def test_the_upgrade_is_more_than_a_thought_where_no_setting_finds_enough() -> None:
    few = CURVE[:2]
    assert needed("method", known(curve=few, promised=0.95)).level == "improve"
    assert needed("recall", known(curve=few, promised=0.95)).action == "rebuild_vector_index"


def test_half_precision_where_searches_can_cast() -> None:
    advice = needed("half precision", known(Method.HNSW))
    assert advice.action is None
    assert advice.expected["size_bytes"] == pytest.approx(410e6, rel=0.01)
    assert about("half precision", known(Method.HNSW, server=Server(150_001, "0.6.2", None, 2**31, 2))) is None


def test_an_invalid_index_is_dropped_first_of_all() -> None:
    (advice,) = (one for one in advise(known(valid=False)) if one.level == "mend")
    assert (advice.subject, advice.action) == ("invalid", "drop_invalid_index")


def test_versions_with_known_faults() -> None:
    server = Server(140_002, "0.8.1", "0.8.7", 2**31, 2)
    found = [advice for advice in advise(known(Method.HNSW, server=server)) if advice.subject == "version"]
    assert [advice.text for advice in found] == [
        "upgrade pgvector to 0.8.7 or later (alter extension vector update), then build the index again",
        "upgrade PostgreSQL to 14.4 or later, then build the index again",
    ]
    assert "CVE-2026-3172" in found[0].why
    assert {advice.level for advice in found} == {"mend"}


@pytest.mark.parametrize(
    ("method", "fields", "level"),
    [
        (Method.IVFFLAT, {}, "consider"),
        (Method.IVFFLAT, {"rows": None}, "consider"),
        (Method.IVFFLAT, {"rows": 5e6, "options": {"lists": 7000}}, "mend"),
        (Method.IVFFLAT, {"dimensions": None}, "mend"),
        (Method.HNSW, {}, "consider"),
    ],
    ids=["few lists", "rows unknown", "an overflow is possible", "size unknown", "recall is watched"],
)
def test_a_fault_that_concerns_no_index_here_is_no_reason_to_hurry(
    method: Method, fields: dict[str, Any], level: str
) -> None:
    server = Server(180_001, "0.8.6", "0.8.6", 2**31, 2)
    advice = needed("version", known(method, server=server, **fields))
    assert advice.level == level
    assert advice.text.startswith("upgrade pgvector to 0.8.7 or later")


def test_an_index_built_on_too_few_rows() -> None:
    advice = needed("lists", known(health={"build_rows": 12.0}))
    assert (advice.level, advice.action, advice.parameters) == ("mend", "rebuild_vector_index", {})
    assert "built on 12 rows" in advice.why
    # what it finds now says nothing of what it will
    assert "recall_ratio" not in needed("lists", known(health={"build_rows": 12.0}, curve=CURVE)).expected
    assert needed("lists", known(rows=15_000.0, health={"build_rows": 12.0})).parameters == {"lists": 15}


def test_an_index_that_its_table_has_outgrown_and_whose_lists_are_too_few() -> None:
    advice = needed("lists", known(rows=500_000.0, health={"build_rows": 300_000.0}, curve=CURVE))
    assert (advice.level, advice.parameters) == ("improve", {"lists": 500})
    assert "200,000 of 500,000 rows are new" in advice.why
    assert "500 lists, and search 22 of them" in advice.text
    assert advice.expected["recall_ratio"] == pytest.approx(0.96, abs=0.01)


def test_lists_within_twice_of_the_rule_stay() -> None:
    assert about("lists", known(rows=190_000.0)) is None
    assert needed("lists", known(rows=250_000.0)).parameters == {"lists": 250}
    assert about("lists", known(rows=3000.0)) is None
    assert about("lists", known(Method.HNSW, rows=500_000.0, health={"build_rows": 1.0})) is None


def test_recall_follows_the_root_of_the_lists() -> None:
    # measured with 316 lists: 0.83 at 5, 0.92 at 10, 0.966 at 20
    for probes, measured in ((5, 0.83), (10, 0.92), (20, 0.966)):
        assert recall_with(CURVE, 100, 316, probes) == pytest.approx(measured, abs=0.01)
    assert recall_with([], 100, 316, 5) is None


def test_recall_at_settings_that_were_not_measured() -> None:
    assert recall_at(CURVE, 10) == pytest.approx(0.96)
    assert 0.905 < (recall_at(CURVE, 7) or 0) < 0.96
    assert recall_at(CURVE, 100) == pytest.approx(0.99)
    assert recall_at([point(1, 1.0), point(2, 1.0)], 1) == pytest.approx(1.0, abs=0.001)


def test_each_role_whose_setting_finds_less_than_is_promised() -> None:
    search = {"": 1, "app": 10, "etl": 2}
    found = [a for a in advise(known(health={"search": search}, curve=CURVE, promised=0.90)) if a.subject == "recall"]
    assert [advice.text for advice in found] == ["set ivfflat.probes = 5"] * 2
    assert "whoever sets nothing" in found[0].why
    assert "the role etl" in found[1].why
    assert found[0].expected == {"recall_ratio": 0.905, "search_seconds": 0.0077}
    assert about("recall", known(curve=CURVE, promised=None)) is None


def test_bloat_dead_rows_and_memory() -> None:
    bloated = known(size_bytes=2_000_000_000)
    assert needed("bloat", bloated).action == "reindex"
    assert "2.4 times" in needed("bloat", bloated).why
    assert about("bloat", known(rows=100.0, size_bytes=9_000_000)) is None
    assert about("bloat", known(size_bytes=2_000_000_000, predicate="(tenant = 7)")) is None
    dead = needed("dead rows", known(Method.HNSW, health={"dead_rows": 60_000.0}))
    assert "reindex, then vacuum" in dead.text
    poor = Server(180_001, "0.8.7", "0.8.7", 2**26, 2)
    assert "would fail" in needed("memory", known(server=poor)).why
    assert "slower" in needed("memory", known(Method.HNSW, server=poor)).why


def test_why_the_planner_does_not_use_it() -> None:
    reason = Reason(Cause.STATISTICS, "never analyzed", "analyze it")
    unused = Use("idx_embedding", None, 10.0, 20.0, (reason,))
    advice = needed("not used", known(use=unused))
    assert (advice.level, advice.text, advice.why) == ("mend", "analyze it", "never analyzed")
    assert needed("not used", known(use=unused, rows=50.0)).level == "consider"


def test_searches_that_do_not_fit_it() -> None:
    reason = Reason(Cause.SHAPE, "searches use <->", "another operator class")
    assert needed("shape of searches", known(misfits=[reason], health={"scans": 0})).level == "mend"


def test_an_index_that_nobody_uses_though_the_planner_would() -> None:
    advice = needed("not used", known(health={"scans": 0, "table_scans": 400}))
    assert (advice.level, "400 times" in advice.why) == ("improve", True)
    assert about("not used", known(health={"scans": 0, "table_scans": 3})) is None


def test_what_is_wrong_comes_first() -> None:
    levels = [advice.level for advice in advise(known(health={"build_rows": 12.0}, size_bytes=2_000_000_000))]
    assert levels == sorted(levels, key=["mend", "improve", "consider"].index)
