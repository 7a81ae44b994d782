"""Times in cron's notation, and schedules in the configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.config import ConfigError, parse
from daemon.config._refreshes import WEEKLY
from fleet.cron import Cron
from fleet.policy import Schedule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def times(expression: str, begin: str, count: int, timezone: str = "UTC") -> list[str]:
    """The next times, in UTC."""
    cron, moment, found = Cron(expression, timezone), at(begin), []
    for _ in range(count):
        following = cron.next(moment)
        assert following is not None
        moment = following
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%a %m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("0", "Sun"),
        ("7", "Sun"),
        ("sun", "Sun"),
        ("1", "Mon"),
        ("MON", "Mon"),
        ("6", "Sat"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("mon-fri", "Mon Tue Wed Thu Fri"),
        ("5-7", "Fri Sat Sun"),
        ("sat-sun", "Sat Sun"),
        ("0-1", "Mon Sun"),
        ("1,3,sat", "Mon Wed Sat"),
        ("*/2", "Tue Thu Sat Sun"),
        ("1-6/2", "Mon Wed Fri"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_days_of_the_week_are_cron_s(field: str, days: str) -> None:
    count = len(days.split())
    found = times(f"0 0 * * {field}", "2025-06-01T23:59", count)  # a Sunday
    assert [one.split()[0] for one in found] == days.split()


def test_where_both_days_are_restricted_either_suffices() -> None:
    assert times("0 4 13 * fri", "2025-06-01T00:00", 4) == [
        "Fri 06-06 04:00",
        "Fri 06-13 04:00",
        "Fri 06-20 04:00",
        "Fri 06-27 04:00",
    ]
    assert times("0 4 1,15 * sun", "2025-07-01T12:00", 3) == ["Sun 07-06 04:00", "Sun 07-13 04:00", "Tue 07-15 04:00"]


def test_in_spring_a_time_that_the_clock_skips_comes_all_the_same() -> None:
    assert times("30 2 * * *", "2025-03-29T00:00", 3, "Europe/Rome") == [
        "Sat 03-29 01:30",
        "Sun 03-30 01:30",  # 03:30 there
        "Mon 03-31 00:30",
    ]
    assert times("*/30 * * * *", "2025-03-30T00:30", 3, "Europe/Rome") == [
        "Sun 03-30 01:00",
        "Sun 03-30 01:30",
        "Sun 03-30 02:00",
    ]


def test_in_autumn_a_fixed_time_comes_once_and_every_half_hour_is_every_half_hour() -> None:
    assert times("30 2 * * *", "2025-10-25T12:00", 2, "Europe/Rome") == ["Sun 10-26 00:30", "Mon 10-27 01:30"]
    assert times("*/30 * * * *", "2025-10-25T23:30", 6, "Europe/Rome") == [
        "Sun 10-26 00:00",
        "Sun 10-26 00:30",
        "Sun 10-26 01:00",
        "Sun 10-26 01:30",
        "Sun 10-26 02:00",
        "Sun 10-26 02:30",
    ]


@pytest.mark.parametrize(
    ("expression", "after", "until", "found"),
    [
        ("0 2 * * *", "2025-06-01T00:00", "2025-06-01T01:59", None),
        ("0 2 * * *", "2025-06-01T00:00", "2025-06-01T02:00", "2025-06-01T02:00"),
        ("0 2 * * *", "2025-06-01T02:00", "2025-06-01T09:00", None),
        ("0 2 * * *", "2024-06-01T00:00", "2025-06-01T09:00", "2025-06-01T02:00"),
        ("* * * * *", "2025-01-01T00:00", "2025-06-01T09:00", "2025-06-01T09:00"),
        ("0 0 29 2 *", "2020-06-01T00:00", "2025-06-01T09:00", "2024-02-29T00:00"),
    ],
)
def test_the_latest_time_of_a_span(expression: str, after: str, until: str, found: str | None) -> None:
    assert Cron(expression, "UTC").latest(at(after), at(until)) == (None if found is None else at(found))


@pytest.mark.parametrize(
    "expression",
    [
        "",
        *("* * * *", "* * * * * *", "60 * * * *", "* * 0 * *", "@daily", "0 0 30 2 *"),
        *(f"* * * * {field}" for field in ("8", "foo", "5-2", "*/0", "1/x", "1-")),
    ],
)
def test_what_is_no_cron_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Cron(expression, "UTC")
    with pytest.raises(ValueError, match="cron"):
        Schedule(action="backup", cron=expression)


CONFIG = """\
tiers:
  qa:
    schedules:
      nightly: {action: backup, cron: "30 2 * * *", timezone: Europe/Rome}
environments:
  a: {tier: qa, dsn: "postgresql://a@h/a"}
  b:
    tier: qa
    dsn: "postgresql://b@h/b"
    policy:
      schedules:
        often: {action: backup, cron: "0 * * * *", catch_up: 10m}
"""
CHANGED = CONFIG + "        nightly: {enabled: false}\n"


def test_schedules_are_merged_by_name() -> None:
    settings = parse(CHANGED, Path("/x/custode.yml"))
    a, b = (settings.environments[name].policy.schedules for name in "ab")
    assert list(a) == ["nightly"]
    assert (a["nightly"].catch_up, a["nightly"].enabled) == (timedelta(hours=1), True)
    assert b["nightly"] == a["nightly"].model_copy(update={"enabled": False})
    assert b["often"].catch_up == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("before", "after", "path", "said"),
    [
        ("nightly: {action: b", "nightly: {action: x", "tiers.qa.schedules.nightly.action", "no such action"),
        ("often: {action: b", "often: {action: x", "environments.b.policy.schedules.often.action", "no such action"),
        ("30 2 * * *", "30 25 * * *", "tiers.qa.schedules.nightly.cron", "25"),
        ("Europe/Rome", "Europe/Roma", "tiers.qa.schedules.nightly.timezone", "no time zone"),
        (
            "catch_up: 10m",
            "parameters: {nonsense: 1}",
            "environments.b.policy.schedules.often.parameters.nonsense",
            "not known",
        ),
    ],
)
def test_what_is_wrong_is_told_where_it_stands_and_once(before: str, after: str, path: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(CONFIG.replace(before, after), Path("/x/custode.yml"))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert said in problem.message


REFRESHED = """\
environments:
  production: {tier: production, dsn: "postgresql://p@h/p"}
  qa: {tier: qa, dsn: "postgresql://a@h/a", policy: {data: {mask_key: "env:KEY"}}}
  preprod: {tier: preprod, dsn: "postgresql://b@h/b", policy: {data: {mask_key: "env:KEY"}}}
"""


def test_weekly_data_is_refreshed_on_sundays_and_production_never_is() -> None:
    environments = parse(REFRESHED, Path("/x/custode.yml")).environments
    schedules = {name: dict(each.policy.schedules) for name, each in environments.items()}
    assert schedules == {"production": {}, "qa": {"refresh": WEEKLY}, "preprod": {}}
    assert WEEKLY.times().next(at("2025-06-04T09:00")) == at("2025-06-08T02:00")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  production: {tier: production", "  production: {tier: qa"),
        ("  preprod: {tier: preprod", "  preprod: {tier: production"),
        ('{data: {mask_key: "env:KEY"}}}\n  preprod', "{}}\n  preprod"),
        ('KEY"}}}\n  preprod', 'KEY", refresh_interval: null}}}\n  preprod'),
        ('KEY"}}}\n  preprod', 'KEY", refresh_interval: 1d}}}\n  preprod'),
    ],
    ids=["no production", "several productions", "no key", "not promised", "promised by the day"],
)
def test_where_something_is_missing_nothing_is_refreshed_by_itself(before: str, after: str) -> None:
    assert before in REFRESHED
    text = REFRESHED.replace(before, after)
    assert "refresh" not in parse(text, Path("/x/custode.yml")).environments["qa"].policy.schedules


def test_what_is_written_of_refreshes_counts() -> None:
    own = '{data: {mask_key: "env:KEY"}, schedules: {mine: {action: refresh, cron: "0 4 * * *", enabled: false}}}}'
    text = REFRESHED.replace('{data: {mask_key: "env:KEY"}}}\n  preprod', f"{own}\n  preprod")
    assert list(parse(text, Path("/x/custode.yml")).environments["qa"].policy.schedules) == ["mine"]
