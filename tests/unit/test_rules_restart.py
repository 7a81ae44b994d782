"""What outlives a reload and a restart, and what happens to alerts about what could not be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pytest

from rules import LOOKBACK, Alert, Labels, Lasting, Query, RuleEngine, SampleStore, State, parse_text
from tests.judging import make_engine, told

RULES = """\
groups:
  - name: g
    interval: 15s
    rules:
      - {alert: Large, expr: size > 100, for: 30s}
      - {alert: Down, expr: up == 0, labels: {severity: critical}}
      - {alert: Kept, expr: up == 0, keep_firing_for: 1m}
"""
UP, SIZE = (Labels({"__name__": name, "environment": "qa"}) for name in ("up", "size"))
BAD, GOOD = [(UP, 0.0), (SIZE, 200.0)], [(UP, 1.0), (SIZE, 1.0)]
QA = {"environment": "qa"}


def by_rule(lasting: Iterable[Lasting]) -> dict[str, list[Alert]]:
    """What `restore` takes, from what an engine says is to be remembered, in order."""
    alerts: dict[str, dict[Labels, Alert]] = defaultdict(dict)
    for one in lasting:
        if one.alert is None:
            alerts[one.key].pop(one.labels)
        else:
            alerts[one.key][one.labels] = one.alert
    return {key: list(found.values()) for key, found in alerts.items() if found}


def states(engine: RuleEngine) -> dict[str, str]:
    return {view.name: view.state.value for view in engine.alerts()}


def started(*times: float, batch: list[tuple[Labels, float]] = BAD) -> tuple[SampleStore, RuleEngine]:
    store, engine = make_engine(RULES)
    for time in times:
        store.land("qa/s", time, batch)
        engine.evaluate(time)
    return store, engine


def test_reload_carries_over_what_stays_and_ends_what_is_gone() -> None:
    store, engine = started(0)
    iterations = engine.groups()[0].iterations
    changed = RULES.replace("> 100", "> 150").replace("for: 30s", "for: 20s").replace("alert: Down", "alert: Gone")
    assert told(engine.reload(parse_text(changed, "some/rules.yml"))) == [("Down", "firing", "inactive")]
    assert states(engine) == {"Large": "pending", "Kept": "firing"}
    assert engine.groups()[0].iterations == iterations
    assert [labels["alertname"] for labels, _ in Query.compile("ALERTS").evaluate(store, 5)] == ["Large", "Kept"]
    store.land("qa/s", 20, BAD)
    assert told(engine.evaluate(20)) == [("Large", "pending", "firing"), ("Gone", "inactive", "firing")]
    assert sorted(told(engine.reload([]))) == [(name, "firing", "inactive") for name in ("Gone", "Kept", "Large")]
    assert engine.alerts() == []
    assert store.sources() == ["qa/s"]


def test_a_rule_whose_labels_changed_is_another_one() -> None:
    _, engine = started(0)
    changed = RULES.replace("critical", "warning")
    assert told(engine.reload(parse_text(changed, "elsewhere/rules.yml"))) == [("Down", "firing", "inactive")]
    assert "Large" in states(engine)  # folders move


def test_a_reload_tells_what_to_forget() -> None:
    _, engine = started(0)
    engine.take_unsaved()
    engine.reload(parse_text(RULES.replace("alert: Down", "alert: Gone"), "some/rules.yml"))
    (gone,) = engine.take_unsaved()
    assert (gone.labels["alertname"], gone.alert) == ("Down", None)


def test_a_reload_keeps_the_interval_and_changes_it() -> None:
    _, engine = started(0, 15)
    engine.reload(parse_text(RULES, "some/rules.yml"))
    assert engine.due(16) == []
    engine.reload(parse_text(RULES.replace("15s", "1h"), "some/rules.yml"))
    assert len(engine.due(16)) == 1


def test_what_must_last_is_told_once_and_in_order() -> None:
    store, engine = started(0)
    assert [(one.labels["alertname"], one.alert.state if one.alert else None) for one in engine.take_unsaved()] == [
        ("Large", State.PENDING),
        ("Down", State.FIRING),
        ("Kept", State.FIRING),
    ]
    assert engine.take_unsaved() == []
    store.land("qa/s", 15, [(UP, 0.0), (SIZE, 300.0)])
    engine.evaluate(15)
    assert engine.take_unsaved() == []  # another value is no change that must last
    store.land("qa/s", 30, [(UP, 1.0)])
    engine.evaluate(30)
    found = {one.labels["alertname"]: one.alert for one in engine.take_unsaved()}
    assert found["Large"] is None
    assert found["Down"] is not None
    assert (found["Down"].state, found["Down"].resolved_at) == (State.RESOLVED, 30)
    assert found["Kept"] is not None
    assert (found["Kept"].state, found["Kept"].keep_firing_since) == (State.FIRING, 30)


def test_changes_add_up_to_all_that_lasts() -> None:
    store, engine = make_engine(RULES)
    unsaved: list[Lasting] = []
    for number, bad in enumerate("xx-xxxx----x-x" + "-" * 90 + "x"):
        store.land("qa/s", number * 15, BAD if bad == "x" else GOOD)
        engine.evaluate(number * 15)
        unsaved += engine.take_unsaved()
        added, whole = by_rule(unsaved), by_rule(engine.lasting())
        assert {key: {one.labels: one.lasting for one in alerts} for key, alerts in added.items()} == {
            key: {one.labels: one.lasting for one in alerts} for key, alerts in whole.items()
        }


def restored(engine: RuleEngine, stopped_at: float, now: float, **more: float) -> tuple[SampleStore, RuleEngine]:
    store, new = make_engine(RULES, "moved/rules.yml")
    new.restore(by_rule(engine.lasting()), stopped_at, now, **more)
    return store, new


def test_alerts_go_on_after_a_restart() -> None:
    _, engine = started(0, 20)
    store, engine = restored(engine, 20, 1000)  # down for 980 s, which count for no `for`
    assert engine.take_unsaved() == []
    assert engine.evaluate(1000) == []  # nothing has landed yet
    store.land("qa/s", 1005, BAD)
    assert engine.on_batch({"up", "size"}, 1005) == []
    large, down, _ = engine.alerts()
    assert (large.state, large.active_at) == (State.PENDING, 980.0)
    assert (down.state, down.active_at, down.fired_at) == (State.FIRING, 0.0, 0.0)
    store.land("qa/s", 1015, BAD)
    assert told(engine.evaluate(1015)) == [("Large", "pending", "firing")]
    store.land("qa/s", 1020, [(UP, 1.0), (SIZE, 200.0)])
    assert told(engine.on_batch({"up"}, 1020)) == [("Down", "firing", "resolved")]  # seen again, then gone


def test_keep_firing_goes_on_after_a_restart() -> None:
    store, engine = started(0)
    store.land("qa/s", 15, GOOD)
    engine.evaluate(15)
    assert engine.alerts()[-1].keep_firing_since == 15
    store, engine = restored(engine, 55, 1000, grace=0)  # 40 of 60 seconds are over
    store.land("qa/s", 1000, GOOD)
    (kept,) = [view for view in engine.alerts() if view.name == "Kept"]
    assert kept.keep_firing_since == 960
    assert told(engine.evaluate(1000)) == []
    store.land("qa/s", 1019, GOOD)
    assert told(engine.evaluate(1019)) == []
    store.land("qa/s", 1034, GOOD)
    assert told(engine.evaluate(1034)) == [("Kept", "firing", "resolved")]


def test_a_resolved_alert_stays_for_its_time_and_no_longer() -> None:
    store, engine = started(0)
    store.land("qa/s", 15, GOOD)
    engine.evaluate(15)
    store, engine = restored(engine, 15, 500)
    engine.evaluate(900)
    assert states(engine)["Down"] == "resolved"
    assert engine.evaluate(930) == []
    assert "Down" not in states(engine)


def test_a_clock_that_is_behind_the_stop_shifts_nothing() -> None:
    _, engine = started(5000)
    store, engine = restored(engine, 5000, 4000)
    assert engine.alerts()[0].active_at == 5000
    store.land("qa/s", 4000, BAD)
    assert told(engine.evaluate(4000)) == []
    store.land("qa/s", 4015, GOOD)
    assert set(told(engine.evaluate(4015))) == {("Large", "pending", "inactive"), ("Down", "firing", "resolved")}


def test_a_restored_alert_that_is_not_seen_again_ends_after_the_grace() -> None:
    _, engine = started(0)
    _, engine = restored(engine, 0, 100, grace=60)
    assert engine.evaluate(145) == []
    assert set(told(engine.evaluate(160))) == {("Large", "pending", "inactive"), ("Down", "firing", "resolved")}


def test_rules_with_the_same_name_and_labels_are_told_apart() -> None:
    text = "groups: [{name: g, rules: [{alert: A, expr: up == 0, for: 1m}, {alert: A, expr: up == 1}]}]"
    store, engine = make_engine(text)
    store.land("s", 0, [(UP, 0.0)])
    engine.evaluate(0)
    saved = by_rule(engine.lasting())
    assert len(saved) == 1
    _, engine = make_engine(text)
    engine.restore({**saved, "unknown rule": []}, 0, 0)
    assert states(engine) == {"A": "pending"}


def test_is_active_asks_by_labels() -> None:
    store, engine = started(0)
    down = {"alertname": "Down", "severity": "critical", "environment": "qa"}
    assert engine.is_active(Labels(down))
    assert not engine.is_active(Labels({**down, "environment": "prod"}))
    store.land("qa/s", 15, GOOD)
    engine.evaluate(15)
    assert not engine.is_active(Labels(down))  # resolved, and still remembered


@pytest.mark.parametrize("rest", [[], [(SIZE, 200.0)], [(UP, 0.0)]])
def test_what_could_not_be_read_ends_no_alert(rest: list[tuple[Labels, float]]) -> None:
    """Neither pending nor firing ones, for as long as it takes, until it is read again."""
    store, engine = started(0)
    for time in range(15, 900, 15):
        store.land("qa/s", time, rest, doubtful=QA)
        assert not [one for one in engine.evaluate(time) if one.after in {State.INACTIVE, State.RESOLVED}]
    large = "firing" if (SIZE, 200.0) in rest else "pending"
    assert states(engine) == {"Large": large, "Down": "firing", "Kept": "firing"}
    store.land("qa/s", 900, GOOD)
    ended = {"firing": "resolved", "pending": "inactive"}[large]
    assert told(engine.evaluate(900)) == [("Large", large, ended), ("Down", "firing", "resolved")]
    store.land("qa/s", 960, GOOD)
    assert told(engine.evaluate(960)) == [("Kept", "firing", "resolved")]  # the minute began when it was read


def test_doubts_about_one_environment_keep_no_other() -> None:
    store, engine = started(0)
    prod = {"environment": "prod"}
    store.land("prod/s", 0, [(labels.updated(prod), value) for labels, value in BAD])
    engine.evaluate_all(0)
    store.land("qa/s", 15, [], doubtful=QA)
    store.land("prod/s", 15, [])
    changes = engine.evaluate(15)
    assert told(changes) == [("Large", "pending", "inactive"), ("Down", "firing", "resolved")]
    assert {one.labels["environment"] for one in changes} == {"prod"}


def test_doubts_about_other_metrics_keep_nothing() -> None:
    store, engine = started(0)
    other = Labels({"__name__": "other", "environment": "qa"})
    store.land("qa/t", 0, [(other, 1.0)])
    store.land("qa/t", 15, [], doubtful=QA)
    store.land("qa/s", 15, GOOD)
    assert set(told(engine.evaluate(15))) == {("Large", "pending", "inactive"), ("Down", "firing", "resolved")}


def test_an_alert_of_a_forgotten_environment_ends() -> None:
    store, engine = started(0)
    store.land("qa/s", 15, [], doubtful=QA)
    store.drop("qa/s")
    assert set(told(engine.evaluate(15))) == {("Large", "pending", "inactive"), ("Down", "firing", "resolved")}


def test_a_restored_alert_outlives_the_grace_while_nothing_can_be_read() -> None:
    """Seen once and then doubtful again, over a restart."""
    _, engine = started(0)
    store, engine = restored(engine, 0, 1000)
    store.land("qa/s", 1000, BAD)
    engine.evaluate(1000)
    for time in range(1015, 1000 + 3 * int(LOOKBACK), 15):
        store.land("qa/s", time, [], doubtful=QA)
        assert not [one for one in engine.evaluate(time) if one.after in {State.INACTIVE, State.RESOLVED}]
    assert states(engine)["Down"] == "firing"
