"""The life of an alert as a timeline: one letter an evaluation, ten seconds apart."""

from __future__ import annotations

import pytest

from rules import Labels, RuleError, State
from rules.alerts import Alert, Element, Timing, advance, cleared, exceeds

LABELS = Labels({"alertname": "A", "env": "qa"})
SAMPLE = Labels({"__name__": "m", "env": "qa"})
STEP = 10.0
SHORT = {State.INACTIVE: ".", State.PENDING: "p", State.FIRING: "f", State.RESOLVED: "r"}


def element(value: float = 1.0) -> Element:
    return Element(LABELS, SAMPLE, value)


def timeline(seen: str, timing: Timing) -> tuple[str, list[str]]:
    """States after each evaluation, and the transitions. `x` in `seen`: the expression yields the element."""
    alerts: dict[Labels, Alert] = {}
    states, changes = "", []
    for index, letter in enumerate(seen):
        alerts, changed = advance(alerts, [element(index)] if letter == "x" else [], index * STEP, timing)
        states += SHORT[alerts[LABELS].state] if LABELS in alerts else "."
        changes += [f"{index}:{SHORT[change.before]}{SHORT[change.after]}" for change in changed]
    return states, changes


@pytest.mark.parametrize(
    ("seen", "timing", "states", "changes"),
    [
        ("-xx-", Timing(), ".ffr", ["1:.f", "3:fr"]),
        ("xxxx-", Timing(hold=30), "pppfr", ["0:.p", "3:pf", "4:fr"]),
        ("xx-xxxx", Timing(hold=20), "pp.ppff", ["0:.p", "2:p.", "3:.p", "5:pf"]),
        ("x--x", Timing(), "frrf", ["0:.f", "1:fr", "3:rf"]),
        ("x--x", Timing(hold=10), "p..p", ["0:.p", "1:p.", "3:.p"]),
        ("x---", Timing(keep_firing=20), "fffr", ["0:.f", "3:fr"]),
        ("x-x---", Timing(keep_firing=20), "fffffr", ["0:.f", "5:fr"]),  # seen again: the time starts anew
        ("xx--x", Timing(hold=10, keep_firing=5), "pffrp", ["0:.p", "1:pf", "3:fr", "4:rp"]),
    ],
)
def test_timeline(seen: str, timing: Timing, states: str, changes: list[str]) -> None:
    assert timeline(seen, timing) == (states, changes)


def test_resolved_is_kept_for_fifteen_minutes_and_goes_without_a_word() -> None:
    states, changes = timeline("x" + "-" * 95, Timing())
    assert states == "f" + "r" * 91 + "." * 4
    assert changes == ["0:.f", "1:fr"]


def test_times_and_values() -> None:
    alerts, _ = advance({}, [element(1.0)], 100.0, Timing(hold=10))
    alerts, _ = advance(alerts, [element(2.0)], 110.0, Timing(hold=10))
    alerts, changes = advance(alerts, [], 125.0, Timing(hold=10))
    assert alerts[LABELS] == Alert(
        LABELS, SAMPLE, 2.0, State.RESOLVED, active_at=100.0, fired_at=110.0, resolved_at=125.0
    )
    assert changes[0].alert is not None
    assert changes[0].alert.value == 2.0
    again, _ = advance(alerts, [element(3.0)], 200.0, Timing(hold=10))
    assert again[LABELS] == Alert(LABELS, SAMPLE, 3.0, State.PENDING, active_at=200.0)


def test_it_does_not_touch_what_it_is_given() -> None:
    before, _ = advance({}, [element()], 0.0, Timing(hold=10))
    copied = dict(before)
    advance(before, [], 20.0, Timing(hold=10))
    assert before == copied


def test_a_raised_for_makes_a_firing_alert_pending_again() -> None:
    alerts, _ = advance({}, [element()], 0.0, Timing())
    alerts, changes = advance(alerts, [element()], 10.0, Timing(hold=60))
    assert alerts[LABELS].state == State.PENDING
    assert [(change.before, change.after) for change in changes] == [(State.FIRING, State.PENDING)]
    alerts, _ = advance(alerts, [element()], 60.0, Timing(hold=60))
    assert alerts[LABELS].state == State.FIRING


def test_two_elements_with_the_same_labels_are_an_error() -> None:
    with pytest.raises(RuleError, match="same labelset after applying alert labels"):
        advance({}, [element(1.0), element(2.0)], 0.0, Timing())


def test_limit_counts_what_is_active() -> None:
    many = [Element(Labels({"n": str(n)}), SAMPLE, 1.0) for n in range(3)]
    alerts, _ = advance({}, many, 0.0, Timing())
    assert exceeds(alerts, 0) is None
    assert exceeds(alerts, 3) is None
    assert exceeds(alerts, 2) == "exceeded limit of 2 with 3 alerts"
    resolved, _ = advance(alerts, [], 10.0, Timing())
    assert exceeds(resolved, 2) is None
    assert [change.after for change in cleared(alerts)] == [State.INACTIVE] * 3
    assert cleared(resolved) == []
