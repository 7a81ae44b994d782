"""The engine over a timeline: intervals, evaluation on arrival, recorded series, failures, limits, runaway rules."""

from __future__ import annotations

import math

import pytest

from rules import Context, Labels, Query, RuleEngine, SampleStore, State, Transition, parse_text
from tests.judging import Timer, make_engine, told

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


def ask(store: SampleStore, text: str, at: float) -> dict[str, float]:
    return {repr(labels): value for labels, value in Query.compile(text).evaluate(store, at)}


def active(engine: RuleEngine) -> dict[str, State]:
    return {view.name: view.state for view in engine.alerts() if view.state != State.RESOLVED}


def test_records_and_alerts_on_their_interval() -> None:
    store, engine = make_engine(RULES)
    for time in range(0, 60, 5):
        store.land("s", time, [(SIZES[0], 60.0), (SIZES[1], 50.0)])
        expected = {0: [("Large", "inactive", "pending")], 30: [("Large", "pending", "firing")]}
        assert told(engine.evaluate(time)) == expected.get(time, [])
    (alert,) = engine.alerts()
    assert dict(alert.labels) == {"alertname": "Large", "env": "qa", "kind": "all", "severity": "warning"}
    assert (alert.state, alert.value, alert.active_at, alert.fired_at) == (State.FIRING, 110.0, 0.0, 30.0)
    assert alert.annotations == {"summary": "qa has 110"}
    rules = {rule.name: rule for rule in engine.rules()}
    assert (rules["Large"].evaluations, rules["Nervous"].evaluations) == (4, 1)
    assert rules["Large"].query == "env:size:sum > 100"
    assert all((rule.health, rule.duration) == ("ok", 0.0) for rule in engine.rules())
    fast, slow = engine.groups()
    assert (fast.name, fast.evaluated_at, fast.iterations, fast.missed, fast.samples, fast.size) == (
        *("fast", 45.0, 4, 0),
        *(2, 3),
    )
    assert (fast.label, fast.evaluations, fast.failures) == ("rules.yml;fast", 12, 0)
    assert (slow.evaluated_at, slow.iterations, slow.interval) == (0.0, 1, 60.0)
    assert [group.rules for group in engine.groups(rules=False)] == [(), ()]


def test_a_batch_is_judged_when_it_lands() -> None:
    store, engine = make_engine(RULES)
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
    evaluations = {rule.name: rule.evaluations for rule in engine.rules()}
    assert evaluations == {"env:size:sum": 1, "Large": 1, "Down": 3, "Nervous": 1}


def test_a_rule_that_reads_any_metric_is_judged_with_every_batch() -> None:
    store, engine = make_engine("groups: [{name: g, rules: [{alert: A, expr: '{env=\"qa\"} == 0'}]}]")
    store.land("s", 0, [(UP, 0.0)])
    assert told(engine.on_batch({"other"}, 0)) == [("A", "inactive", "firing")]


def test_history_is_kept_for_rules_that_read_it() -> None:
    store, engine = make_engine(RULES, store=SampleStore(floor=0.0))
    for time in range(0, 90, 15):
        store.land("s", time, [(UP, float(time % 30 == 0))])
        engine.evaluate(time)
    assert [alert.name for alert in engine.alerts() if alert.state == State.FIRING] == ["Down", "Nervous"]


def test_late_ticks_are_counted_and_a_clock_set_back_stops_nothing() -> None:
    _, engine = make_engine(RULES)
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
    assert [group.missed for group in engine.groups()] == [2, 0]


def test_a_clock_set_back_ends_no_alert_and_starts_none_anew() -> None:
    store, engine = make_engine(RULES)
    for time in (5000, 5030):
        store.land("s", time, [(UP, 0.0), (SIZES[0], 200.0)])
        engine.evaluate(time)
    assert active(engine) == {"Large": State.FIRING, "Down": State.FIRING}
    for time in (1000, 1015, 1030):
        store.land("s", time, [(UP, 0.0), (SIZES[0], 200.0)])
        assert told(engine.evaluate(time)) == []
    assert active(engine) == {"Large": State.FIRING, "Down": State.FIRING}
    store.land("s", 1045, [(UP, 1.0), (SIZES[0], 2.0)])
    assert told(engine.evaluate(1045)) == [("Large", "firing", "resolved"), ("Down", "firing", "resolved")]


def test_a_pending_alert_fires_although_the_clock_was_set_back() -> None:
    store, engine = make_engine(RULES)
    found = []
    for time in (5000, 1000, 1015, 1030):
        store.land("s", time, [(SIZES[0], 200.0)])
        found += told(engine.evaluate(time))
    assert found == [("Large", "inactive", "pending"), ("Large", "pending", "firing")]


def test_all_groups_are_evaluated_at_once_where_that_is_asked_for() -> None:
    store, engine = make_engine(RULES)
    engine.evaluate(0)
    store.land("s", 1, [(UP, 0.0), (SIZES[0], 200.0)])
    assert engine.evaluate(1) == []
    assert told(engine.evaluate_all(1)) == [("Large", "inactive", "pending"), ("Down", "inactive", "firing")]
    assert [group.iterations for group in engine.groups()] == [2, 2]


def test_a_group_goes_step_by_step_at_one_time() -> None:
    store, engine = make_engine(RULES)
    store.land("s", 0, [(SIZES[0], 200.0), (UP, 1.0)])
    fast, slow = engine.due(10)
    assert engine.due(10) == []
    assert told(next(fast)) == []
    assert engine.groups()[0].evaluated_at is None
    store.land("t", 12, [(Labels({"__name__": "size", "env": "new"}), 500.0)])  # too late for this time
    assert told(next(fast)) == [("Large", "inactive", "pending")]
    (alert,) = engine.alerts()
    assert (alert.labels["env"], alert.active_at) == ("qa", 10.0)
    assert [told(step) for step in fast] == [[]]
    assert [told(step) for step in slow] == [[]]
    assert [group.evaluated_at for group in engine.groups()] == [10, 10]
    assert ask(store, "env:size:sum", 12) == {'env:size:sum{env="qa", kind="all"}': 200.0}


@pytest.mark.parametrize("ended", [False, True])
def test_what_a_batch_told_meanwhile_is_not_taken_back_by_a_group_that_began_before(ended: bool) -> None:
    """A batch lands between two steps, and the last rule of the group is evaluated with it, at a later time."""
    store, engine = make_engine(RULES)
    if ended:
        store.land("s", 0, [(UP, 0.0)])
        assert told(engine.evaluate(0)) == [("Down", "inactive", "firing")]
    fast = engine.due(100)[0]
    next(fast)
    store.land("s", 101, [(UP, 1.0 if ended else 0.0)])
    expected = [("Down", "firing", "resolved")] if ended else [("Down", "inactive", "firing")]
    assert told(engine.on_batch({"up"}, 102)) == expected
    assert [told(step) for step in fast] == [[], []]
    assert told(engine.evaluate(115)) == []


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
    store, engine = make_engine(text)
    store.land("s", 0, [(UP, 0.0), (SIZES[0], 1.0)])
    assert told(engine.evaluate(0)) == [(name, "inactive", "firing") for name in ("Joined", "Doubled", "Fine")]
    engine.take_unsaved()
    store.land("s", 20, [(UP, 0.0), (SIZES[0], 1.0), (SIZES[1], 1.0)])
    assert engine.evaluate(20) == []
    assert engine.take_unsaved() == []
    assert active(engine) == dict.fromkeys(("Joined", "Doubled", "Fine"), State.FIRING)
    assert ask(store, "doubled", 20) == {'doubled{env="qa"}': 1.0}  # as it was recorded before
    errors = {rule.name: rule.last_error for rule in engine.rules()}
    assert "found duplicate series" in str(errors["Joined"])
    assert errors["Doubled"] == "vector contains metrics with the same labelset after applying alert labels"
    assert errors["Fine"] is None
    assert errors["doubled"] == "vector contains metrics with the same labelset after applying rule labels"
    assert [(rule.health, rule.failures) for rule in engine.rules()] == [("err", 1), ("err", 1), ("ok", 0), ("err", 1)]
    store.land("s", 40, [(UP, 1.0), (SIZES[0], 1.0)])
    assert told(engine.evaluate(40)) == [("Joined", "firing", "resolved"), ("Fine", "firing", "resolved")]
    assert {rule.health for rule in engine.rules()} == {"ok"}


def test_a_result_that_is_no_vector_fails_and_a_scalar_is_one_element() -> None:
    text = """\
groups:
  - name: g
    rules:
      - {record: text, expr: '"text"'}
      - {record: range, expr: 'up[5m]'}
      - {record: two, expr: 1 + 1, labels: {a: b}}
"""
    store, engine = make_engine(text)
    engine.evaluate(0)
    wrong = "rule result is not a vector or scalar"
    assert [rule.last_error for rule in engine.rules()] == [wrong, wrong, None]
    assert ask(store, "two", 0) == {'two{a="b"}': 2.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_values(value: float) -> None:
    text = """\
groups:
  - name: g
    rules:
      - {record: copied, expr: up * 1}
      - {alert: There, expr: copied, annotations: {summary: "{{ $value }} {{ humanize $value }}"}}
      - {alert: Above, expr: copied > 5}
"""
    store, engine = make_engine(text)
    store.land("s", 0, [(UP, value)])
    above = [("Above", "inactive", "firing")] if value > 0 else []
    assert told(engine.evaluate(0)) == [("There", "inactive", "firing"), *above]
    spelled = {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    alert = engine.alerts()[0]
    assert alert.annotations == {"summary": f"{spelled} {spelled}"}
    assert alert.value == pytest.approx(value, nan_ok=True)
    assert ask(store, "copied", 0) == pytest.approx({'copied{env="qa"}': value}, nan_ok=True)


def test_above_its_limit_a_rule_gives_up_its_alerts() -> None:
    rules = "[{alert: A, expr: size}, {record: r, expr: size}]"
    store, engine = make_engine(f"groups: [{{name: g, limit: 1, rules: {rules}}}]")
    store.land("s", 0, [(SIZES[0], 1.0)])
    assert told(engine.evaluate(0)) == [("A", "inactive", "firing")]
    store.land("s", 20, [(SIZES[0], 1.0), (SIZES[1], 1.0)])
    assert told(engine.evaluate(20)) == [("A", "firing", "inactive")]
    assert [rule.last_error for rule in engine.rules()] == [
        "exceeded limit of 1 with 2 alerts",
        "exceeded limit of 1 with 2 series",
    ]
    assert engine.alerts() == []
    assert ask(store, "ALERTS", 20) == {}


def test_alerts_are_series_while_they_are_active() -> None:
    text = """\
groups:
  - name: g
    rules:
      - {alert: Down, expr: up == 0, for: 30s}
      - {alert: Many, expr: 'count by (alertstate) (ALERTS{alertname="Down"}) > 0'}
      - {record: since, expr: 'ALERTS_FOR_STATE{alertname="Down"}'}
"""
    store, engine = make_engine(text)
    seen, since = {}, {}
    for time in (0, 15, 30, 45):
        store.land("s", time, [(UP, float(time == 45))])
        engine.evaluate(time)
        firing = [alert for alert in engine.alerts() if alert.state == State.FIRING and alert.name == "Many"]
        seen[time] = [alert.labels["alertstate"] for alert in firing]
        since[time] = ask(store, "since", time)
        state = {0: "pending", 15: "pending", 30: "firing"}.get(time)
        down = {f'ALERTS{{alertname="Down", alertstate="{state}", env="qa"}}': 1.0} if state else {}
        assert ask(store, 'ALERTS{alertname="Down"}', time) == down  # and the other state is stale
    assert seen == {0: ["pending"], 15: ["pending"], 30: ["firing"], 45: []}
    assert since == {time: {'since{alertname="Down", env="qa"}': 0.0} if time < 45 else {} for time in seen}
    assert ask(store, "ALERTS", 45) == ask(store, "ALERTS_FOR_STATE", 45) == {}
    assert len(ask(store, 'count_over_time(ALERTS{alertname="Down"}[1m])', 45)) == 2


def test_query_offset_looks_back() -> None:
    rules = "[{alert: A, expr: up == 0}, {record: copied, expr: up}]"
    store, engine = make_engine(f"groups: [{{name: g, interval: 5s, query_offset: 30s, rules: {rules}}}]")
    found = []
    for time in range(0, 60, 5):
        store.land("s", time, [(UP, float(time != 10))])
        assert engine.on_batch({"up"}, time) == []  # what has just landed is not what the rule looks at
        found += [(one.at, one.after.value) for one in engine.evaluate(time)]
    assert found == [(40, "firing"), (45, "resolved")]
    assert ask(store, "copied", 10) == {'copied{env="qa"}': 0.0}  # recorded for the time that it is about


def test_a_full_store_is_an_error_of_the_rule_and_no_loss_of_alerts() -> None:
    rules = "[{record: many, expr: size}, {alert: A, expr: size}]"
    store, engine = make_engine(f"groups: [{{name: g, rules: {rules}}}]", store=SampleStore(limit=60))
    sizes = [(Labels({"__name__": "size", "i": str(i)}), 1.0) for i in range(40)]
    store.land("s", 0, sizes)
    assert len(engine.evaluate(0)) == 40
    assert [rule.health for rule in engine.rules()] == ["err", "err"]
    assert all("no room for the samples of rule:" in str(rule.last_error) for rule in engine.rules())
    assert len(engine.alerts()) == 40
    store.drop("s")
    store.land("s", 15, sizes[:2])
    assert len(engine.evaluate(15)) == 38
    assert [rule.health for rule in engine.rules()] == ["ok", "ok"]


@pytest.mark.parametrize("seconds", [11.0, 19.0, 100.0])
def test_a_runaway_rule_is_paused_for_a_while(seconds: float) -> None:
    timer, slow = Timer(), [seconds]

    def context(now: float) -> Context:
        timer.seconds += slow[0]  # what the evaluation of the alert rule takes
        return Context(now=now)

    rules = "[{record: r, expr: up}, {alert: A, expr: up == 0}]"
    store, engine = make_engine(f"groups: [{{name: g, rules: {rules}}}]", timer=timer, context=context)
    store.land("s", 0, [(UP, 0.0)])
    assert told(engine.evaluate(0)) == [("A", "inactive", "firing")]
    assert engine.groups(rules=False)[0].duration == seconds
    slow[0] = 0.0
    store.land("s", 15, [(UP, 1.0)])
    assert engine.evaluate(15) == []
    record, alert = engine.rules()
    assert (record.evaluated_at, record.failures) == (15, 0)
    assert (alert.evaluated_at, alert.evaluations, alert.failures) == (0, 2, 1)
    assert active(engine) == {"A": State.FIRING}
    for time in range(30, 4000, 15):
        store.land("s", time, [(UP, 1.0)])
        ended = engine.evaluate(time)
        if ended:
            break
    assert told(ended) == [("A", "firing", "resolved")]
    assert 300 <= time <= 30 * seconds + 15
    assert engine.rules()[1].health == "ok"


def test_a_fast_rule_is_not_paused() -> None:
    timer = Timer()

    def context(now: float) -> Context:
        timer.seconds += 9.0
        return Context(now=now)

    store, engine = make_engine("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]", timer=timer, context=context)
    for time in (0, 15):
        store.land("s", time, [(UP, 0.0)])
        engine.evaluate(time)
    assert (engine.rules()[0].evaluated_at, engine.rules()[0].duration) == (15, 9.0)


def test_texts_may_ask_the_store() -> None:
    store = SampleStore()

    def context(now: float) -> Context:
        return Context(now=now, query=lambda text: Query.compile(text).evaluate(store, now))

    summary = """'{{ range query "size" }}{{ .Labels.table }}={{ .Value }} {{ end }}'"""
    rules = f"[{{alert: A, expr: up == 0, annotations: {{summary: {summary}}}}}]"
    _, engine = make_engine(f"groups: [{{name: g, rules: {rules}}}]", store=store, context=context)
    store.land("s", 0, [(UP, 0.0), (SIZES[0], 1.0), (SIZES[1], 2.0)])
    (transition,) = engine.evaluate(0)
    assert transition.annotations == {"summary": "a=1 b=2 "}
    store.land("s", 10, [(UP, 0.0), (SIZES[0], 3.0), (SIZES[1], 2.0)])
    assert engine.alerts()[0].annotations == {"summary": "a=1 b=2 "}  # as of the evaluation
    engine.evaluate(15)
    assert engine.alerts()[0].annotations == {"summary": "a=3 b=2 "}
    store.land("s", 20, [(UP, 1.0)])
    (transition,) = engine.on_batch({"up"}, 20)
    assert (transition.after, transition.annotations) == (State.RESOLVED, {"summary": ""})


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
