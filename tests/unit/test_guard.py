"""The guard as a table: what is refused for good, on which ground, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.actions.guard import Allowed, Ground, Refused, Wait, decide, objections
from daemon.actions.request import Result, Source
from daemon.actions.views import StopSwitch
from fleet.policy import TIER_DEFAULTS, Consent, ConsentPolicy, MaintenanceWindow, Policy, Risk, Tier
from tests.deciding import MONDAY_NOON_UTC, SUNDAY_3_UTC, case, ended, ground, reason, running, situation

DEVELOPMENT, QA, PREPROD, PRODUCTION = Tier
AUTO, ONE, TWO, NEVER = Consent
GIB = 1024.0**3

# rows of the design's table of risks and tiers: what it needs, and whether it has to wait for the window
CONSENT = [
    (Risk.READ, DEVELOPMENT, AUTO, False),
    (Risk.READ, QA, AUTO, False),
    (Risk.READ, PREPROD, AUTO, False),
    (Risk.READ, PRODUCTION, AUTO, False),
    (Risk.SAFE, DEVELOPMENT, AUTO, False),
    (Risk.SAFE, QA, AUTO, False),
    (Risk.SAFE, PREPROD, AUTO, False),
    (Risk.SAFE, PRODUCTION, AUTO, False),
    (Risk.GUARDED, DEVELOPMENT, AUTO, False),
    (Risk.GUARDED, QA, AUTO, False),
    (Risk.GUARDED, PREPROD, AUTO, True),
    (Risk.GUARDED, PRODUCTION, ONE, True),
    (Risk.DANGEROUS, DEVELOPMENT, AUTO, False),
    (Risk.DANGEROUS, QA, AUTO, False),
    (Risk.DANGEROUS, PREPROD, ONE, True),
    (Risk.DANGEROUS, PRODUCTION, ONE, True),
    (Risk.DESTRUCTIVE, DEVELOPMENT, AUTO, False),
    (Risk.DESTRUCTIVE, QA, ONE, False),
    (Risk.DESTRUCTIVE, PREPROD, TWO, False),
    (Risk.DESTRUCTIVE, PRODUCTION, TWO, False),
]


def test_the_table_is_complete() -> None:
    assert len({row[:2] for row in CONSENT}) == len(Risk) * len(Tier) == len(CONSENT)


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize(("risk", "tier", "consent", "windowed"), CONSENT)
def test_risk_and_tier(risk: Risk, tier: Tier, consent: Consent, windowed: bool, source: Source) -> None:
    policy, what = TIER_DEFAULTS[tier], case(risk, source)
    inside = decide(what, situation(policy=policy, now=SUNDAY_3_UTC))
    outside = decide(what, situation(policy=policy, now=MONDAY_NOON_UTC))
    assert inside == Allowed(consent)
    if windowed:
        assert isinstance(outside, Wait)
        assert outside.ground is Ground.OUTSIDE_WINDOW
        assert outside.until is not None
    else:
        assert outside == inside


def test_an_action_may_be_free_of_the_window() -> None:
    free = replace(case(Risk.GUARDED), windowed=False)
    assert decide(free, situation(policy=TIER_DEFAULTS[PREPROD], now=MONDAY_NOON_UTC)) == Allowed(AUTO)


@pytest.mark.parametrize("risk", list(Risk))
@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize(
    ("fields", "expected", "said"),
    [
        pytest.param(
            {"switch": StopSwitch(True, "migration under way", "anna")},
            Ground.STOPPED,
            "all actions are stopped, by anna: migration under way",
            id="stopped",
        ),
        pytest.param({"switch": StopSwitch(True)}, Ground.STOPPED, "all actions are stopped", id="stopped-by-nobody"),
        pytest.param(
            {"switch": None}, Ground.UNKNOWN, "whether actions are stopped cannot be read", id="switch-unknown"
        ),
        pytest.param({"history": None}, Ground.UNKNOWN, "what was done before cannot be read", id="history-unknown"),
    ],
)
def test_stopped_and_unknown_refuse_everything(
    risk: Risk, source: Source, fields: dict[str, Any], expected: Ground, said: str
) -> None:
    assert decide(case(risk, source), situation(**fields)) == Refused(expected, said)


@pytest.mark.parametrize("source", Source)
def test_whoever_is_behind_it_must_be_allowed_to(source: Source) -> None:
    assert ground(case(source=source), operator_refusal="bob may not") == Ground.NOT_ALLOWED
    assert ground(case(source=source)) is None


def test_an_alert_that_has_ended_needs_nothing_any_more() -> None:
    decision = decide(case(), situation(alert_active=False))
    assert isinstance(decision, Refused)
    assert (decision.ground, decision.result) == (Ground.NO_LONGER_NEEDED, Result.CANCELLED)
    assert "BackupOverdue has ended" in decision.reason
    assert ground(alert_active=True) is None


def test_what_is_refused_ends_refused() -> None:
    decision = decide(case(), situation(history=None))
    assert isinstance(decision, Refused)
    assert decision.result is Result.REFUSED


@pytest.mark.parametrize(
    ("needed", "free", "total", "ratio", "said"),
    [
        pytest.param(0, None, None, 0.1, None, id="nothing-needed"),
        pytest.param(10, 30, 200, 0.1, None, id="exactly-the-tenth-stays"),
        pytest.param(11, 30, 200, 0.1, "needs 11.0 GiB on the disk of qa, which has 30.0 GiB free, of which 20.0 GiB "
                     "(10%) must stay free", id="less-than-the-tenth-stays"),
        pytest.param(40, 30, 200, 0.0, "needs 40.0 GiB on the disk of qa, which has 30.0 GiB free", id="more-than-all"),
        pytest.param(30, 30, 200, 0.0, None, id="all-of-it"),
        pytest.param(1, None, 200, 0.1, "how much is free there is unknown", id="free-unknown"),
        pytest.param(1, 30, None, 0.1, "how large it is is unknown", id="total-unknown"),
        pytest.param(1, 30, None, 0.0, None, id="total-not-asked"),
        pytest.param(1, float("nan"), 200, 0.1, "needs 1.0 GiB", id="free-is-no-number"),
        pytest.param(float("nan"), 30, 200, 0.1, "needs nan", id="needed-is-no-number"),
    ],
)  # fmt: skip
def test_disk_head_room(needed: float, free: float | None, total: float | None, ratio: float, said: str | None) -> None:
    fields: dict[str, Any] = {
        "policy": Policy(disk_free_ratio=ratio),
        "disk_needed": needed * GIB,
        "disk_free": None if free is None else free * GIB,
        "disk_total": None if total is None else total * GIB,
    }
    assert ground(**fields) == (Ground.DISK_FULL if said else None)
    if said:
        assert said in reason(**fields)


def test_the_most_final_reason_comes_first_and_all_can_be_told() -> None:
    policy = Policy(consent=ConsentPolicy(guarded=NEVER), window=MaintenanceWindow(days=("sat",)))
    history = ended(Result.NOT_FIXED, Result.NOT_FIXED)
    everything = situation(
        policy=policy,
        operator_refusal="bob may not",
        alert_active=False,
        switch=StopSwitch(True, "", "anna"),
        history=type(history)([running()], history.ended, 1000, 1000),
        disk_needed=1.0,
    )
    automatic = [found.ground for found in objections(case(Risk.GUARDED), everything)]
    assert automatic == [
        Ground.FORBIDDEN,
        Ground.NOT_ALLOWED,
        Ground.NO_LONGER_NEEDED,
        Ground.STOPPED,
        Ground.BREAKER_OPEN,
        Ground.COOLING_DOWN,
        Ground.RATE_LIMITED,
        Ground.RATE_LIMITED,
        Ground.DISK_FULL,
        Ground.OUTSIDE_WINDOW,
        Ground.RUNNING,
        Ground.ENVIRONMENT_BUSY,
    ]
    person = [found.ground for found in objections(case(Risk.GUARDED, Source.PERSON), everything)]
    assert person[:3] == [Ground.FORBIDDEN, Ground.NOT_ALLOWED, Ground.NO_LONGER_NEEDED]
    assert {Ground.BREAKER_OPEN, Ground.COOLING_DOWN}.isdisjoint(person)


def test_where_the_past_is_unknown_the_rest_is_told_nevertheless() -> None:
    found = objections(case(Risk.GUARDED), situation(history=None, policy=Policy(window=MaintenanceWindow())))
    assert [each.ground for each in found] == [Ground.UNKNOWN, Ground.OUTSIDE_WINDOW]
