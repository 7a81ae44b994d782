"""An environment moves from one engine to another: silently, with its alerts and their `for`."""

from __future__ import annotations

from collections import defaultdict

import pytest

from rules import Alert, Labels, RuleEngine, SampleStore, Saved, State
from tests.judging import make_engine, told

RULES = """\
groups:
  - name: g
    interval: 15s
    rules:
      - {alert: Large, expr: size > 100, for: 30s}
      - {alert: Down, expr: up == 0}
      - {alert: Own, expr: vector(1)}
"""


def land(store: SampleStore, time: float, environment: str, *, up: float = 0.0, size: float = 200.0) -> None:
    labels = {"environment": environment}
    store.land(
        f"{environment}/s",
        time,
        [(Labels({"__name__": "up", **labels}), up), (Labels({"__name__": "size", **labels}), size)],
    )


def started(*environments: str) -> tuple[SampleStore, RuleEngine]:
    store, engine = make_engine(RULES)
    for environment in environments:
        land(store, 0, environment)
    engine.evaluate(0)
    return store, engine


def saved(engine: RuleEngine, at: float, now: float) -> Saved:
    alerts: dict[str, list[Alert]] = defaultdict(list)
    for one in engine.lasting():
        assert one.alert is not None
        alerts[one.key].append(one.alert)
    return Saved(alerts, at, now)


def states(engine: RuleEngine, environment: str) -> dict[str, tuple[State, float]]:
    found = [view for view in engine.alerts() if view.labels.value("environment") == environment]
    return {view.name: (view.state, view.active_at) for view in found}


def test_what_is_released_ends_silently_and_is_judged_no_more() -> None:
    store, engine = started("qa", "prod")
    engine.take_unsaved()
    engine.release("qa")
    assert sorted((one.labels["alertname"], one.alert) for one in engine.take_unsaved()) == [
        ("Down", None),
        ("Large", None),
    ]
    assert states(engine, "qa") == {}
    assert states(engine, "prod") == {"Large": (State.PENDING, 0), "Down": (State.FIRING, 0)}
    land(store, 15, "qa")
    land(store, 15, "prod", up=1.0)
    assert told(engine.evaluate(15)) == [("Down", "firing", "resolved")]
    assert states(engine, "qa") == {}
    assert states(engine, "") == {"Own": (State.FIRING, 0)}


def test_what_is_adopted_goes_on_and_the_time_in_between_counts_for_no_for() -> None:
    _, old = started("qa", "prod")
    store, new = make_engine(RULES)
    new.release("qa")
    new.adopt("qa", saved(old, 20, 100))
    assert states(new, "qa") == {"Large": (State.PENDING, 80), "Down": (State.FIRING, 0)}
    assert states(new, "prod") == {}
    assert {one.labels["alertname"] for one in new.take_unsaved()} == {"Large", "Down"}
    assert told(new.evaluate(100)) == [("Own", "inactive", "firing")]  # nothing has landed yet
    land(store, 111, "qa")
    assert told(new.evaluate(115)) == [("Large", "pending", "firing")]
    land(store, 130, "qa", up=1.0)
    assert told(new.evaluate(130)) == [("Down", "firing", "resolved")]


def test_what_is_adopted_and_not_seen_again_ends_after_the_grace() -> None:
    _, old = started("qa")
    _, new = make_engine(RULES)
    new.adopt("qa", saved(old, 0, 100), grace=60)
    assert ("Down", "firing", "resolved") not in told(new.evaluate(145))
    assert set(told(new.evaluate(160))) == {("Large", "pending", "inactive"), ("Down", "firing", "resolved")}


def test_what_both_have_seen_goes_on_from_its_earlier_beginning() -> None:
    _, old = started("qa")
    store, new = make_engine(RULES)
    land(store, 50, "qa")
    new.evaluate(50)
    new.adopt("qa", saved(old, 45, 60))
    assert states(new, "qa") == {"Large": (State.PENDING, 15), "Down": (State.FIRING, 0)}
    land(store, 65, "qa", up=1.0)
    # it was seen here: its absence counts at once
    assert set(told(new.evaluate(65))) == {("Large", "pending", "firing"), ("Down", "firing", "resolved")}


def test_what_was_only_remembered_here_gives_way() -> None:
    _, old = started("qa", "prod")
    _, new = make_engine(RULES)
    remembered = saved(old, 0, 0)
    new.restore(remembered.alerts, 0, 10)
    new.adopt("qa", Saved({}, 5, 10))
    assert states(new, "qa") == {}
    assert set(states(new, "prod")) == {"Large", "Down"}


@pytest.mark.parametrize("environment", ["qa", "other"])
def test_releasing_and_adopting_nothing_changes_nothing(environment: str) -> None:
    _, engine = started("qa")
    before = engine.lasting()
    engine.take_unsaved()
    if environment == "other":
        engine.release(environment)
    engine.adopt(environment)
    assert (engine.lasting(), engine.take_unsaved()) == (before, [])
