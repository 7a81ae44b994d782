from __future__ import annotations

from collectors import Family, gauge, info
from daemon.scrape import Batch, SampleCache
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


def test_only_wanted_known_values_are_given() -> None:
    found = SampleCache().samples(batch(("app", True, 1, 5), ("web", None, None, 6)), frozenset({"custode_a"}))
    assert found == [(Labels({"__name__": "custode_a", **LABELS, "datname": "app", "valid": "true"}), 1.0)]
    assert isinstance(found[0][1], float)


def test_what_is_known_of_the_run_is_given_too() -> None:
    found = SampleCache().samples(batch(), frozenset({"custode_server_info", "custode_b"}))
    assert found == [(Labels({"__name__": "custode_server_info", **LABELS, "version": "18"}), 1.0)]


def test_label_sets_live_as_long_as_their_series() -> None:
    cache, wanted = SampleCache(), frozenset({"custode_a"})
    [(first, _)] = cache.samples(batch(("app", True, 1, 5)), wanted)
    [(second, value), _] = cache.samples(batch(("app", True, 2, 5), ("web", True, 2, 5)), wanted)
    assert second is first
    assert value == 2.0
    cache.samples(batch(("web", True, 2, 5)), wanted)
    assert len(cache._known["qa", "x"]) == 1
    cache.forget("qa", "y")
    assert cache._known
    cache.forget("qa")
    assert not cache._known


def test_a_familys_label_wins_over_the_environments() -> None:
    labels = LABELS | {"valid": "environment", "datname": "environment"}
    [(found, _)] = SampleCache().samples(batch((None, False, 1, None), labels=labels), frozenset({"custode_a"}))
    assert found == Labels({"__name__": "custode_a", **LABELS, "valid": "false"})
