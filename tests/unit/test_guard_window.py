"""Maintenance windows: when they are open, and when they open next."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.actions.guard import Wait, decide, is_open, opens_next
from fleet.policy import MaintenanceWindow, Policy, Risk
from tests.deciding import MONDAY_NOON_UTC, case, ground, situation

HOUR, DAY = 3600.0, 86_400.0


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


@pytest.mark.parametrize(
    ("window", "moment", "expected", "zone"),
    [
        ({}, "2026-08-02T01:59:59", "2026-08-02T02:00:00", "UTC"),
        ({}, "2026-08-02T02:00:00", "2026-08-09T02:00:00", "UTC"),  # it opens now: the next time is in a week
        ({}, "2026-08-02T06:00:00", "2026-08-09T02:00:00", "UTC"),
        ({"days": ["mon", "thu"]}, "2026-08-03T12:00:00", "2026-08-06T02:00:00", "UTC"),
        ({"days": ["mon", "thu"]}, "2026-08-07T12:00:00", "2026-08-10T02:00:00", "UTC"),
        # an opening that the clock skips is an hour later on it, one that it repeats is the first of the two
        ({"start": "02:30", "timezone": "Europe/Rome"}, "2026-03-28T12:00:00", "2026-03-29T03:30:00", "Europe/Rome"),
        ({"start": "02:30", "timezone": "Europe/Rome"}, "2026-10-24T12:00:00", "2026-10-25T02:30:00", "Europe/Rome"),
        # Samoa left out the Friday 2011-12-30: its clock shows the same hour of the Saturday then
        ({"days": ["fri"], "timezone": "Pacific/Apia"}, "2011-12-29T12:00:00", "2011-12-31T02:00:00", "Pacific/Apia"),
    ],
)
def test_when_it_opens_next(window: dict[str, Any], moment: str, expected: str, zone: str) -> None:
    assert opens_next(MaintenanceWindow.model_validate(window), at(moment, zone)) == at(expected, zone)


# zones with changes of an hour, of half an hour, none, of a whole day, and at midnight
ZONES = ("UTC", "Europe/Rome", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "America/Havana")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOWS = st.builds(
    MaintenanceWindow,
    days=st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True).map(tuple),
    start=st.builds(time, st.integers(0, 23), st.integers(0, 59)),
    length=st.integers(1, 4 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    timezone=st.sampled_from(ZONES),
)
CHANGES = tuple(
    at(f"{day}T00:00:00", "UTC")
    for day in ("2026-03-29", "2026-10-25", "2011-12-30", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04")
)
MOMENTS = st.one_of(
    st.integers(946_684_800, 2_208_988_800).map(float),  # 2000 to 2040
    st.builds(lambda change, offset: change + offset, st.sampled_from(CHANGES), st.integers(-10 * 86_400, 10 * 86_400)),
)


@settings(max_examples=400, deadline=None)
@given(WINDOWS, MOMENTS, st.floats(0, 0.99))
def test_it_is_closed_until_it_opens_and_open_for_its_length(
    window: MaintenanceWindow, now: float, part: float
) -> None:
    opening, length = opens_next(window, now), window.length.total_seconds()
    assert now < opening <= now + 8 * DAY + 2 * HOUR
    between = now + (opening - now) * part
    assert opens_next(window, between) == opening
    if not is_open(window, now):
        assert not is_open(window, between)
    assert is_open(window, opening)
    assert is_open(window, opening + length * part)
    # then it closes, unless it has opened again by then
    assert is_open(window, opening + length) is (opens_next(window, opening) <= opening + length)


@settings(max_examples=400, deadline=None)
@given(WINDOWS, MOMENTS)
def test_it_opens_by_the_clock_of_its_zone_or_an_hour_late_where_that_is_skipped(
    window: MaintenanceWindow, now: float
) -> None:
    shown = datetime.fromtimestamp(opens_next(window, now), ZoneInfo(window.timezone))
    if shown.time() == window.start and DAYS[shown.weekday()] in window.days:
        assert shown.fold == 0, "the first of two"
        return
    # never else than where the clock was put on: some hour before, it was behind by as much
    before = shown - timedelta(days=2)
    assert before.utcoffset() != shown.utcoffset()


def test_a_window_that_never_opens_is_no_window() -> None:
    wrongs: tuple[dict[str, Any], ...] = ({"days": []}, {"length": "0s"})
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"at least 1|greater than 0"):
            MaintenanceWindow.model_validate(wrong)


def test_a_policy_without_a_window_is_open_always() -> None:
    assert ground(case(Risk.DESTRUCTIVE), policy=Policy(window=None)) is None


def test_the_reason_says_when_it_opens() -> None:
    window = MaintenanceWindow(days=("wed", "sun"), timezone="Europe/Rome")
    decision = decide(case(Risk.GUARDED), situation(policy=Policy(window=window), now=MONDAY_NOON_UTC - 3 * HOUR))
    assert isinstance(decision, Wait)
    assert decision.until == at("2026-08-05T02:00:00", "Europe/Rome")
    assert decision.reason == ("waits for the maintenance window: wed, sun 02:00 for 4h, Europe/Rome; opens in 1d 15h")
