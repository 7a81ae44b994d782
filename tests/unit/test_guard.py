"""The guard as a table: who may do what, when, how often."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.actions.guard import Allowed, Ended, Ground, History, Limits, Refused, Situation, decide, is_open
from daemon.actions.request import Request, Result
from fleet.policy import TIER_DEFAULTS, ConsentPolicy, MaintenanceWindow, Policy, Risk, Tier

SUNDAY_3_UTC = datetime(2026, 8, 2, 3, tzinfo=ZoneInfo("UTC")).timestamp()  # inside the default window
MONDAY_NOON_UTC = datetime(2026, 8, 3, 12, tzinfo=ZoneInfo("UTC")).timestamp()
REQUEST = Request("qa", "backup", "k1", "alert", MONDAY_NOON_UTC)
DEVELOPMENT, QA, PREPROD, PRODUCTION = Tier


def ground(risk: Risk = Risk.SAFE, policy: Policy | None = None, **fields: Any) -> Ground | None:
    values: dict[str, Any] = {"policy": policy or Policy(), "history": History(), "now": MONDAY_NOON_UTC}
    decision = decide(REQUEST, risk, Situation(**(values | fields)))
    if isinstance(decision, Allowed):
        return None
    assert decision.reason
    return decision.ground


# rows of the design's table of risks and tiers: what happens inside the maintenance window, and outside of it
CONSENT = [
    (Risk.READ, DEVELOPMENT, None, None),
    (Risk.READ, QA, None, None),
    (Risk.READ, PREPROD, None, None),
    (Risk.READ, PRODUCTION, None, None),
    (Risk.SAFE, DEVELOPMENT, None, None),
    (Risk.SAFE, QA, None, None),
    (Risk.SAFE, PREPROD, None, None),
    (Risk.SAFE, PRODUCTION, None, None),
    (Risk.GUARDED, DEVELOPMENT, None, None),
    (Risk.GUARDED, QA, None, None),
    (Risk.GUARDED, PREPROD, None, Ground.OUTSIDE_WINDOW),
    (Risk.GUARDED, PRODUCTION, Ground.NEEDS_APPROVAL, Ground.NEEDS_APPROVAL),
    (Risk.DANGEROUS, DEVELOPMENT, None, None),
    (Risk.DANGEROUS, QA, None, None),
    (Risk.DANGEROUS, PREPROD, Ground.NEEDS_APPROVAL, Ground.NEEDS_APPROVAL),
    (Risk.DANGEROUS, PRODUCTION, Ground.NEEDS_APPROVAL, Ground.NEEDS_APPROVAL),
    (Risk.DESTRUCTIVE, DEVELOPMENT, None, None),
    (Risk.DESTRUCTIVE, QA, Ground.NEEDS_APPROVAL, Ground.NEEDS_APPROVAL),
    (Risk.DESTRUCTIVE, PREPROD, Ground.NEEDS_APPROVAL, Ground.NEEDS_APPROVAL),
    (Risk.DESTRUCTIVE, PRODUCTION, Ground.FORBIDDEN, Ground.FORBIDDEN),
]


def test_the_table_is_complete() -> None:
    assert len({row[:2] for row in CONSENT}) == len(Risk) * len(Tier) == len(CONSENT)


@pytest.mark.parametrize(("risk", "tier", "inside", "outside"), CONSENT)
def test_risk_and_tier(risk: Risk, tier: Tier, inside: Ground | None, outside: Ground | None) -> None:
    policy = TIER_DEFAULTS[tier]
    assert ground(risk, policy, now=SUNDAY_3_UTC) == inside
    assert ground(risk, policy, now=MONDAY_NOON_UTC) == outside


@pytest.mark.parametrize("consent", ["one_approval", "two_approvals"])
def test_a_refusal_for_want_of_approval_says_so(consent: str) -> None:
    policy = Policy(consent=ConsentPolicy.model_validate({"safe": consent}))
    decision = decide(REQUEST, Risk.SAFE, Situation(policy, History(), MONDAY_NOON_UTC))
    assert isinstance(decision, Refused)
    assert consent.partition("_")[0] in decision.reason
    assert "not possible yet" in decision.reason


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"stopped": True}, Ground.STOPPED),
        ({"stopped": None}, Ground.UNKNOWN),
        ({"history": None}, Ground.UNKNOWN),
        ({"stopped": None, "history": None}, Ground.UNKNOWN),
    ],
)
@pytest.mark.parametrize("risk", list(Risk))
def test_stopped_and_unknown_refuse_everything(risk: Risk, fields: dict[str, Any], expected: Ground) -> None:
    assert ground(risk, **fields) == expected


def at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("window", "moment", "zone", "expected"),
    [
        ({}, "2026-08-02T02:00:00", "UTC", True),  # a Sunday
        ({}, "2026-08-02T01:59:59", "UTC", False),
        ({}, "2026-08-02T05:59:59", "UTC", True),
        ({}, "2026-08-02T06:00:00", "UTC", False),
        ({}, "2026-08-03T03:00:00", "UTC", False),
        # the zone decides: 02:30 in Rome is 00:30 UTC in summer
        ({"timezone": "Europe/Rome"}, "2026-08-02T00:30:00", "UTC", True),
        ({"timezone": "Europe/Rome"}, "2026-08-01T23:30:00", "UTC", False),
        # past midnight, and for longer than a day
        ({"start": "23:00", "length": "2h"}, "2026-08-03T00:30:00", "UTC", True),
        ({"start": "23:00", "length": "2h"}, "2026-08-02T00:30:00", "UTC", False),
        ({"days": ["fri"], "start": "20:00", "length": "2d"}, "2026-08-09T19:59:00", "UTC", True),
        ({"days": ["fri"], "start": "20:00", "length": "2d"}, "2026-08-09T20:00:00", "UTC", False),
        # 2026-03-29: the clock in Rome jumps from 02:00 to 03:00; four hours from 02:00 (then 03:00) on
        ({"timezone": "Europe/Rome"}, "2026-03-29T03:00:00", "Europe/Rome", True),
        ({"timezone": "Europe/Rome"}, "2026-03-29T06:59:00", "Europe/Rome", True),
        ({"timezone": "Europe/Rome"}, "2026-03-29T07:00:00", "Europe/Rome", False),
        # 2026-10-25: 02:00 to 03:00 happens twice; four hours from the first on
        ({"timezone": "Europe/Rome"}, "2026-10-25T00:00:00", "UTC", True),
        ({"timezone": "Europe/Rome"}, "2026-10-25T04:00:00", "UTC", False),
    ],
)
def test_the_maintenance_window(window: dict[str, Any], moment: str, zone: str, expected: bool) -> None:
    assert is_open(MaintenanceWindow.model_validate(window), at(moment, zone)) is expected


def test_a_policy_without_a_window_is_open_always() -> None:
    assert ground(Risk.DESTRUCTIVE, Policy(window=None)) is None


def failures(count: int, age: float, result: Result = Result.FAILED) -> History:
    newest = MONDAY_NOON_UTC - age
    return History(ended=[Ended(result, newest - 10_000 * i, f"old{i}") for i in range(count)])


@pytest.mark.parametrize("result", [Result.FAILED, Result.NOT_FIXED, Result.INTERRUPTED])
@pytest.mark.parametrize(
    ("count", "age", "expected"),
    [
        (0, 0, None),
        (1, 0, Ground.COOLING_DOWN),
        (1, 59, Ground.COOLING_DOWN),
        (1, 60, None),
        (2, 119, Ground.COOLING_DOWN),
        (2, 120, None),
        (5, 959, Ground.COOLING_DOWN),
        (5, 960, None),
        (7, 3599, Ground.COOLING_DOWN),  # 3840 s would be next: the longest wait is an hour
        (7, 3600, None),
        (5000, 3600, None),
    ],
)
def test_the_wait_after_failures_doubles_up_to_a_bound(
    result: Result, count: int, age: float, expected: Ground | None
) -> None:
    assert ground(history=failures(count, age, result)) == expected


def test_a_success_ends_the_wait() -> None:
    failed = failures(6, 1)
    done = Ended(Result.FIXED, MONDAY_NOON_UTC, "other")
    assert ground(history=replace(failed, ended=[done, *failed.ended])) is None


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result.FIXED, Ground.REPEATED),
        (Result.FAILED, None),
        (Result.NOT_FIXED, None),
        (Result.INTERRUPTED, None),
    ],
)
def test_what_was_done_under_a_key_is_not_done_again(result: Result, expected: Ground | None) -> None:
    assert ground(history=History(ended=[Ended(result, MONDAY_NOON_UTC - 86_400, "k1")])) == expected
    assert ground(history=History(ended=[Ended(result, MONDAY_NOON_UTC - 86_400, "k2")])) is None


def test_one_at_a_time() -> None:
    assert ground(history=History(running=["r1"])) == Ground.RUNNING


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([10, 20, 30], Ground.RATE_LIMITED),
        ([10, 20], None),
        ([10, 20, 3599.9], Ground.RATE_LIMITED),
        ([10, 20, 3600], None),
    ],
)
def test_so_many_in_an_hour(ages: list[float], expected: Ground | None) -> None:
    history = History(begun=[MONDAY_NOON_UTC - age for age in ages])
    assert ground(history=history, limits=Limits(per_hour=3)) == expected


def test_the_defaults_let_an_hourly_backup_through() -> None:
    hourly = History(begun=[MONDAY_NOON_UTC - 3600 * i for i in range(24)])
    assert ground(history=hourly, limits=Limits()) is None
    assert Limits().cooldown == timedelta(minutes=1)
