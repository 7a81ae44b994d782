"""Batches as the rule engine reads them: which samples, with which labels, and how long label sets live."""

from __future__ import annotations

from collectors import Family, gauge, info
from daemon.alerting._samples import SampleCache
from daemon.scrape import Batch
from rules import Labels

FAMILY = Family(("datname", "valid"), (gauge("a", "A."), gauge("b", "B.")))
FACT = Family(("version",), (info("server_info", "V."),))
LABELS = {"environment": "qa", "tier": "qa"}


def batch(*records: tuple[object, ...], labels: dict[str, str] = LABELS) -> Batch:
    return Batch(
        environment="qa",
        labels=labels,
        collector="x",
        started=0.0,
        duration=0.0,
        rows=(FAMILY.rows(records),),
        meta=(FACT.rows([("18", 1)]),),
    )


def found(facts: list[tuple[Labels, float]], name: str) -> list[tuple[Labels, float]]:
    return [sample for sample in facts if sample[0].name == name]


def test_all_known_values_are_given_and_what_is_unknown_is_absent() -> None:
    facts, about = SampleCache().samples(batch(("app", True, 1, 5), ("web", None, None, 6)))
    app = {**LABELS, "datname": "app", "valid": "true"}
    assert facts == [
        (Labels({"__name__": "custode_a", **app}), 1.0),
        (Labels({"__name__": "custode_b", **app}), 5.0),
        (Labels({"__name__": "custode_b", **LABELS, "datname": "web"}), 6.0),
    ]
    assert all(isinstance(value, float) for _, value in facts)
    assert about == [(Labels({"__name__": "custode_server_info", **LABELS, "version": "18"}), 1.0)]


def test_what_is_known_of_the_run_is_told_apart() -> None:
    facts, about = SampleCache().samples(batch())
    assert facts == []
    assert [labels.name for labels, _ in about] == ["custode_server_info"]


def test_label_sets_live_as_long_as_their_series() -> None:
    cache = SampleCache()
    [(first, _)] = found(cache.samples(batch(("app", True, 1, 5)))[0], "custode_a")
    [(second, value), _] = found(cache.samples(batch(("app", True, 2, 5), ("web", True, 2, 5)))[0], "custode_a")
    assert second is first
    assert value == 2.0
    cache.samples(batch(("web", True, 2, 5)))
    assert len(cache._kept["qa", "x"].labels) == 3  # two of web, one about the run
    cache.forget("production")
    assert cache._kept
    cache.forget("qa")
    assert not cache._kept


def test_other_labels_of_the_environment_are_taken_over() -> None:
    cache = SampleCache()
    cache.samples(batch(("app", True, 1, 5)))
    facts, about = cache.samples(batch(("app", True, 1, 5), labels=LABELS | {"team": "dba"}))
    assert {labels["team"] for labels, _ in (*facts, *about)} == {"dba"}
    facts, about = cache.samples(batch(("app", True, 1, 5)))
    assert not any("team" in labels for labels, _ in (*facts, *about))


def test_environments_and_collectors_do_not_mix() -> None:
    cache = SampleCache()
    cache.samples(batch(("app", True, 1, 5)))
    other = Batch("prod", {"environment": "prod"}, "x", 0.0, 0.0, rows=(FAMILY.rows([("app", True, 1, None)]),))
    assert cache.samples(other)[0] == [
        (Labels({"__name__": "custode_a", "environment": "prod", "datname": "app", "valid": "true"}), 1.0)
    ]


def test_a_familys_label_wins_over_the_environments() -> None:
    labels = LABELS | {"valid": "environment", "datname": "environment"}
    [(one, _)], _ = SampleCache().samples(batch((None, False, 1, None), labels=labels))
    assert one == Labels({"__name__": "custode_a", **LABELS, "valid": "false"})
