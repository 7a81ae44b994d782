"""What goes to Alertmanagers, and what is held back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.actions import ActionEvent, Happened, Result, Run, RunState, Source
from daemon.alertmanager import Hold, fingerprint, page_alert
from rules import AlertView, Labels, State

NOW = 1_800_000_000.0
LABELS = {"alertname": "IndexBloated", "environment": "qa", "severity": "critical", "action": "reindex"}
SETS = frozenset({"action"})
ALERT = AlertView(
    "IndexBloated", Labels(LABELS), {"summary": "12 GiB"}, 1.0, State.FIRING, NOW - 60, NOW, None, None, SETS
)


def body(alert: AlertView, now: float = NOW + 5) -> dict[str, object]:
    made = page_alert(alert, extra={"cluster": "eu", "severity": "page"}, url="http://c/alerts/1", now=now, lasts=240)
    assert made is not None
    return made


def test_a_firing_alert_is_told_to_last_a_while() -> None:
    assert body(ALERT) == {
        "labels": {**LABELS, "cluster": "eu"},
        "annotations": {"summary": "12 GiB", "sent_by": "custode"},
        "startsAt": "2027-01-15T08:00:00.000Z",
        "endsAt": "2027-01-15T08:04:05.000Z",
        "generatorURL": "http://c/alerts/1",
    }


def test_a_resolved_one_is_told_with_the_same_end_again_and_again() -> None:
    resolved = replace(ALERT, state=State.RESOLVED, resolved_at=NOW + 30.25)
    assert body(resolved)["endsAt"] == body(resolved, NOW + 600)["endsAt"] == "2027-01-15T08:00:30.250Z"
    earlier = replace(resolved, resolved_at=NOW - 1)  # the clock was set back
    assert body(earlier)["endsAt"] == body(earlier)["startsAt"]


def test_what_alertmanager_would_refuse_is_left_out() -> None:
    odd = Labels({"alertname": "A", "a-b": "x", "città": "x", "empty": "", "half": "\ud800", "ok": "città"})
    assert body(replace(ALERT, labels=odd, annotations={"a b": "x", "c": "\udfff"})) == {
        **body(ALERT),
        "labels": {"alertname": "A", "half": "?", "ok": "città", "cluster": "eu", "severity": "page"},
        "annotations": {"c": "?", "sent_by": "custode"},
    }
    nameless = replace(ALERT, labels=Labels({"alertname": "", "environment": "qa"}))
    assert page_alert(nameless, extra={}, url="", now=NOW, lasts=1) is None


def test_a_fingerprint_names_the_labels() -> None:
    assert len(fingerprint(ALERT.labels)) == 16
    assert fingerprint(ALERT.labels) == fingerprint(Labels(dict(reversed(LABELS.items()))))
    assert fingerprint(ALERT.labels) != fingerprint(Labels({**LABELS, "environment": "q"}))


def hold(seconds: float = 600) -> Hold:
    return Hold(lambda: seconds, lambda: {"reindex"})


def event(kind: Happened, at: float, result: Result | None = None, alert: dict[str, str] | None = None) -> ActionEvent:
    run = Run(
        id="r1",
        key="k",
        source=Source.ALERT,
        environment="qa",
        action="reindex",
        object="",
        parameters={},
        requested_by="alert IndexBloated",
        requested_at=at,
        reason="",
        alert=alert or LABELS,
        state=RunState.RUNNING,
    )
    return ActionEvent(kind, run, at, result=result)


def test_an_alert_is_held_while_its_action_works_and_no_longer_than_allowed() -> None:
    held = hold()
    assert held.holds(ALERT, NOW + 1)  # it is about to ask
    assert not held.holds(ALERT, NOW + 4)  # it did not
    for kind in (Happened.REQUESTED, Happened.PLANNED, Happened.BEGUN, Happened.STEP):
        assert held.note(event(kind, NOW + 1))
        assert held.holds(ALERT, NOW + 599)
    assert not held.holds(ALERT, NOW + 600)
    assert not held.holds(replace(ALERT, labels=Labels({**LABELS, "environment": "prod"})), NOW + 10)


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (Happened.ASKED, None),
        (Happened.PARKED, None),
        (Happened.REFUSED, Result.REFUSED),
        (Happened.DONE, Result.NOT_FIXED),
        (Happened.DONE, Result.FAILED),
        (Happened.DONE, Result.CANCELLED),
        (Happened.ESCALATED, None),
    ],
)
def test_it_pages_at_once_where_the_action_cannot_help(kind: Happened, result: Result | None) -> None:
    held = hold()
    held.note(event(Happened.REQUESTED, NOW + 1))
    held.note(event(kind, NOW + 2, result))
    assert not held.holds(ALERT, NOW + 2)


def test_what_helped_before_does_not_hold_the_next_occurrence() -> None:
    held = hold()
    held.note(event(Happened.DONE, NOW + 2, Result.FIXED))
    assert held.holds(ALERT, NOW + 3)
    again = replace(ALERT, active_at=NOW + 90, fired_at=NOW + 100)
    assert held.holds(again, NOW + 101)
    assert not held.holds(again, NOW + 104)


def test_without_an_action_or_a_time_to_hold_nothing_is_held() -> None:
    assert not hold(0).holds(ALERT, NOW)
    assert not hold().holds(replace(ALERT, labels=Labels({**LABELS, "action": "unknown"})), NOW)
    nobody = event(Happened.BEGUN, NOW)
    assert not hold().note(replace(nobody, run=replace(nobody.run, alert=None)))
