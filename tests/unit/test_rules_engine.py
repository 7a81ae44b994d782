"""The engine over a timeline: intervals, evaluation on arrival, recorded series, reload, restart, failures."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from rules import Labels, RuleEngine, RuleError, SampleStore, State, Transition, parse_text

RULES = """\
groups:
  - name: fast
    interval: 15s
    rules:
      - record: env:size:sum
        expr: sum by (env) (size)
        labels: {kind: all}
      - alert: Large
        expr: env:size:sum > 100
        for: 30s
        labels: {severity: warning}
        annotations: {summary: "{{ $labels.env }} has {{ $value }}"}
      - alert: Down
        expr: up == 0
        labels: {severity: critical, was: "{{ $value }}"}
        annotations: {summary: "{{ $labels.env }} is down"}
  - name: slow
    interval: 1m
    rules:
      - alert: Nervous
        expr: changes(up[2m]) > 1
"""
UP = Labels({"__name__": "up", "env": "qa"})
SIZES = [Labels({"__name__": "size", "env": "qa", "table": letter}) for letter in "ab"]


def make(text: str = RULES, *, also: Sequence[str] = ()) -> tuple[SampleStore, RuleEngine]:
    store = SampleStore()
    return store, RuleEngine(store, parse_text(text, "some/rules.yml"), also=also)


def told(transitions: Sequence[Transition]) -> list[tuple[str, str, str]]:
    return [(one.labels["alertname"], one.before.value, one.after.value) for one in transitions]


def test_records_and_alerts_on_their_interval() -> None:
    store, engine = make()
    for time in range(0, 60, 5):
        store.land("s", time, [(SIZES[0], 60.0), (SIZES[1], 50.0)])
        expected = {0: [("Large", "inactive", "pending")], 30: [("Large", "pending", "firing")]}
        assert told(engine.evaluate(time)) == expected.get(time, [])
    (alert,) = engine.alerts()
    assert dict(alert.labels) == {"alertname": "Large", "env": "qa", "kind": "all", "severity": "warning"}
    assert (alert.state, alert.value, alert.active_at, alert.fired_at) == (State.FIRING, 110.0, 0.0, 30.0)
    assert alert.annotations == {"summary": "qa has 110"}
    rules = {rule.name: rule for rule in engine.rules()}
    assert rules["Large"].evaluations == 4
    assert rules["Nervous"].evaluations == 1
    assert rules["Large"].query == "env:size:sum > 100"
    assert all(rule.health == "ok" and rule.duration >= 0 for rule in engine.rules())
    assert [(group.name, group.evaluated_at, group.missed) for group in engine.groups()] == [
        ("fast", 45.0, 0),
        ("slow", 0.0, 0),
    ]


def test_a_batch_is_judged_when_it_lands() -> None:
    store, engine = make()
    store.land("s", 0, [(UP, 1.0)])
    engine.evaluate(0)
    store.land("s", 3, [(UP, 0.0)])
    (transition,) = engine.on_batch({"up"}, 3)
    assert transition == Transition(
        Labels({"alertname": "Down", "env": "qa", "severity": "critical", "was": "0"}),
        {"summary": "qa is down"},
        0.0,
        State.INACTIVE,
        State.FIRING,
        3,
    )
    assert engine.on_batch({"size", "unknown"}, 4) == []
    store.land("s", 5, [(UP, 1.0)])
    assert told(engine.on_batch({"up"}, 5)) == [("Down", "firing", "resolved")]
    assert {rule.name: rule.evaluations for rule in engine.rules()} == {
        "env:size:sum": 1,
        "Large": 1,
        "Down": 3,
        "Nervous": 1,
    }


def test_only_what_is_read_is_kept() -> None:
    store, engine = make(also=["shown"])
    assert engine.metric_names() == frozenset({"size", "env:size:sum", "up", "shown"})
    assert store.wants("shown")
    assert not store.wants("other")
    _, engine = make("groups: [{name: g, rules: [{alert: A, expr: '{a=\"b\"}'}]}]")
    assert engine.metric_names() is None


def test_history_is_kept_for_rules_that_read_it() -> None:
    store, engine = make()
    for time in range(0, 90, 15):
        store.land("s", time, [(UP, float(time % 30 == 0))])
        engine.evaluate(time)
    assert [alert.name for alert in engine.alerts() if alert.state == State.FIRING] == ["Down", "Nervous"]


def test_late_ticks_are_counted_and_a_clock_set_back_stops_nothing() -> None:
    _, engine = make()
    engine.evaluate(1000)
    engine.evaluate(1050)  # due at 1015, 1030 and 1045
    assert engine.groups()[0].missed == 2
    engine.evaluate(1059)
    assert engine.groups()[0].evaluated_at == 1050
    engine.evaluate(1060)
    assert engine.groups()[0].evaluated_at == 1060
    engine.evaluate(100)
    assert engine.groups()[0].evaluated_at == 100
    assert engine.groups()[1].evaluated_at == 100


def test_a_failure_changes_nothing_and_harms_no_other_rule() -> None:
    text = """\
groups:
  - name: g
    rules:
      - {alert: Joined, expr: up * on (env) group_left (table) size == 0}
      - {alert: Doubled, expr: size > 0, labels: {table: ""}}
      - {alert: Fine, expr: up == 0}
      - {record: doubled, expr: size, labels: {table: ""}}
"""
    store, engine = make(text)
    store.land("s", 0, [(UP, 0.0), (SIZES[0], 1.0)])
    assert told(engine.evaluate(0)) == [(name, "inactive", "firing") for name in ("Joined", "Doubled", "Fine")]
    store.land("s", 20, [(UP, 0.0), (SIZES[0], 1.0), (SIZES[1], 1.0)])
    assert engine.evaluate(20) == []
    assert {alert.name for alert in engine.alerts() if alert.state == State.FIRING} == {"Joined", "Doubled", "Fine"}
    errors = {rule.name: rule.last_error for rule in engine.rules()}
    assert "found duplicate series" in str(errors["Joined"])
    assert errors["Doubled"] == "vector contains metrics with the same labelset after applying alert labels"
    assert errors["Fine"] is None
    assert errors["doubled"] == "vector contains metrics with the same labelset after applying rule labels"
    assert [(rule.health, rule.failures) for rule in engine.rules()] == [("err", 1), ("err", 1), ("ok", 0), ("err", 1)]
    store.land("s", 40, [(UP, 1.0), (SIZES[0], 1.0)])
    assert told(engine.evaluate(40)) == [("Joined", "firing", "resolved"), ("Fine", "firing", "resolved")]
    assert {rule.health for rule in engine.rules()} == {"ok"}


def test_above_its_limit_a_rule_gives_up_its_alerts() -> None:
    store, engine = make("groups: [{name: g, limit: 1, rules: [{alert: A, expr: size}, {record: r, expr: size}]}]")
    store.land("s", 0, [(SIZES[0], 1.0)])
    assert told(engine.evaluate(0)) == [("A", "inactive", "firing")]
    store.land("s", 20, [(SIZES[0], 1.0), (SIZES[1], 1.0)])
    assert told(engine.evaluate(20)) == [("A", "firing", "inactive")]
    assert [rule.last_error for rule in engine.rules()] == [
        "exceeded limit of 1 with 2 alerts",
        "exceeded limit of 1 with 2 series",
    ]
    assert engine.alerts() == []


def test_rules_read_the_alerts_of_others() -> None:
    text = """\
groups:
  - name: g
    rules:
      - {alert: Down, expr: up == 0, for: 30s}
      - {alert: Many, expr: 'count by (alertstate) (ALERTS{alertname="Down"}) > 0'}
      - {record: since, expr: ALERTS_FOR_STATE}
"""
    store, engine = make(text)
    seen = {}
    for time in (0, 15, 30, 45):
        store.land("s", time, [(UP, float(time == 45))])
        engine.evaluate(time)
        active = [alert for alert in engine.alerts() if alert.state == State.FIRING and alert.name == "Many"]
        seen[time] = [alert.labels["alertstate"] for alert in active]
    assert seen == {0: ["pending"], 15: ["pending"], 30: ["firing"], 45: []}


def test_query_offset_looks_back() -> None:
    store, engine = make("groups: [{name: g, interval: 5s, query_offset: 30s, rules: [{alert: A, expr: up == 0}]}]")
    found = []
    for time in range(0, 60, 5):
        store.land("s", time, [(UP, float(time != 10))])
        assert engine.on_batch({"up"}, time) == []  # what has just landed is not what the rule looks at
        found += [(one.at, one.after.value) for one in engine.evaluate(time)]
    assert found == [(40, "firing"), (45, "resolved")]


def test_reload_carries_over_what_stays() -> None:
    store, engine = make()
    store.land("s", 0, [(UP, 0.0), (SIZES[0], 200.0)])
    engine.evaluate(0)
    changed = RULES.replace("> 100", "> 150").replace("for: 30s", "for: 20s").replace("alert: Down", "alert: Gone")
    assert told(engine.reload(parse_text(changed, "elsewhere/rules.yml"))) == [("Down", "firing", "inactive")]
    store.land("s", 20, [(UP, 0.0), (SIZES[0], 200.0)])
    assert told(engine.evaluate(20)) == [("Large", "pending", "firing"), ("Gone", "inactive", "firing")]
    assert engine.reload([]) != []
    assert engine.alerts() == []
    assert [source for source in store.sources() if source.startswith("rule:")] == []


def test_alerts_go_on_after_a_restart() -> None:
    store, engine = make()
    batch = [(UP, 0.0), (SIZES[0], 200.0)]
    store.land("s", 0, batch)
    engine.evaluate(0)
    store.land("s", 20, batch)
    engine.evaluate(20)
    kept = json.loads(json.dumps(engine.snapshot(), allow_nan=False))

    store, engine = make()
    engine.restore(kept, 1000)  # down for 980 s, which count for no `for`
    assert engine.evaluate(1000) == []  # nothing has landed yet
    store.land("s", 1005, batch)
    assert engine.on_batch({"up", "size"}, 1005) == []
    large = next(alert for alert in engine.alerts() if alert.name == "Large")
    assert (large.state, large.active_at) == (State.PENDING, 980.0)
    down = next(alert for alert in engine.alerts() if alert.name == "Down")
    assert (down.state, down.active_at) == (State.FIRING, 0.0)
    store.land("s", 1015, batch)
    assert told(engine.evaluate(1015)) == [("Large", "pending", "firing")]
    store.land("s", 1020, [(UP, 1.0)])
    assert told(engine.on_batch({"up"}, 1020)) == [("Down", "firing", "resolved")]  # seen again, then gone


def test_a_restored_alert_that_is_not_seen_again_ends_after_the_grace() -> None:
    store, engine = make()
    store.land("s", 0, [(UP, 0.0)])
    engine.evaluate(0)
    kept = engine.snapshot()
    store, engine = make()
    engine.restore(kept, 100, grace=60)
    assert engine.evaluate(145) == []
    assert told(engine.evaluate(160)) == [("Down", "firing", "resolved")]


@pytest.mark.parametrize(
    "snapshot", [{}, {"version": 2}, [], None, {"version": 1, "at": 1, "rules": {"a": [{"labels": 5}]}}, {"version": 1}]
)
def test_what_is_no_snapshot_is_refused_and_changes_nothing(snapshot: object) -> None:
    store, engine = make()
    store.land("s", 0, [(UP, 0.0)])
    engine.evaluate(0)
    with pytest.raises(RuleError) as caught:
        engine.restore(snapshot, 10)
    assert caught.value.hint
    assert [alert.name for alert in engine.alerts()] == ["Down"]


def test_rules_with_the_same_name_and_labels_are_told_apart() -> None:
    text = "groups: [{name: g, rules: [{alert: A, expr: up == 0, for: 1m}, {alert: A, expr: up == 1}]}]"
    store, engine = make(text)
    store.land("s", 0, [(UP, 0.0)])
    engine.evaluate(0)
    kept = engine.snapshot()
    assert len(kept["rules"]) == 1
    _, engine = make(text)
    engine.restore(kept, 0)
    assert [(alert.name, alert.state) for alert in engine.alerts()] == [("A", State.PENDING)]


def test_files_of_the_same_name_do_not_overwrite_each_other() -> None:
    text = "groups: [{name: g, rules: [{record: r, expr: SUM}, {alert: A, expr: r > 0}]}]"
    groups = [
        *parse_text(text.replace("SUM", "sum by (env) (size)"), "one/rules.yml"),
        *parse_text(text.replace("SUM", "sum by (table) (size)"), "two/rules.yml"),
    ]
    store = SampleStore()
    engine = RuleEngine(store, groups)
    store.land("s", 0, [(SIZES[0], 1.0)])
    engine.evaluate(0)
    assert len([source for source in store.sources() if source.startswith("rule:")]) == 4
    assert {alert.labels.value("env") or alert.labels.value("table") for alert in engine.alerts()} == {"qa", "a"}
