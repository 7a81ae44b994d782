from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fleet.backups.simulate import simulate
from fleet.policy import TIER_DEFAULTS, Retention, Tier

START = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_a_year_of_the_guides_policy() -> None:
    policy = TIER_DEFAULTS[Tier.PRODUCTION].backup.retention
    told = simulate(policy, HOUR, 400, first_bytes=100.0, change_ratio=0.001, start=START)
    assert told.taken == 9600
    assert [day.day for day in told.days] == list(range(1, 401))
    last = told.days[-1]
    assert last.series == {"hourly": 24, "daily": 30, "weekly": 14, "monthly": 13}
    assert last.backups == len(told.kept)
    assert 24 + 29 <= last.backups <= 24 + 30 + 14 + 13
    # everything changed between months, little between hours
    assert 100 * 12 * 0.4 < last.stored_bytes < 100 * 14
    assert told.peak_bytes >= last.stored_bytes


def test_whole_copies_cost_what_there_are_of_them() -> None:
    told = simulate(Retention(daily=7 * DAY), DAY, 30, first_bytes=10.0, start=START)
    assert told.days[-1].backups == 7
    assert [day.stored_bytes for day in told.days] == [10.0 * day.backups for day in told.days]
    assert told.days[0].stored_bytes == 10.0


def test_what_does_not_change_is_stored_once() -> None:
    told = simulate(Retention(daily=7 * DAY), DAY, 30, first_bytes=10.0, change_ratio=0.0)
    assert {day.stored_bytes for day in told.days} == {10.0}


def test_no_time_between_backups_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        simulate(Retention(), timedelta(0), 1)
