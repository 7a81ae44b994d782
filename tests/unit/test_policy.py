"""The tier defaults are the strategy guide's tables: these tests are those tables, row by row."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from fleet.policy import TIER_DEFAULTS, Consent, DataPolicy, MaintenanceWindow, Policy, Risk, RowRetention, Tier

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("tier", "interval", "restore_test"),
    [
        (Tier.DEVELOPMENT, None, None),
        (Tier.QA, DAY, 30 * DAY),
        (Tier.PREPROD, DAY, 7 * DAY),
        (Tier.PRODUCTION, HOUR, 7 * DAY),
    ],
)
def test_backups_and_restore_tests(tier: Tier, interval: timedelta | None, restore_test: timedelta | None) -> None:
    backup = TIER_DEFAULTS[tier].backup
    assert (backup.interval, backup.restore_test_interval) == (interval, restore_test)


def test_retention() -> None:
    kept = {tier: TIER_DEFAULTS[tier].backup.retention.model_dump(exclude_none=True) for tier in Tier}
    assert kept == {
        Tier.DEVELOPMENT: {},
        Tier.QA: {"daily": "7d"},
        Tier.PREPROD: {"daily": "30d"},
        Tier.PRODUCTION: {"hourly": "1d", "daily": "30d", "weekly": "90d", "monthly": "1y"},
    }


def test_recovery_objectives_of_production() -> None:
    backup = TIER_DEFAULTS[Tier.PRODUCTION].backup
    assert (backup.recovery_time, backup.recovery_point) == (timedelta(minutes=15), HOUR)


def test_tls_and_personal_data() -> None:
    assert [tier for tier in Tier if TIER_DEFAULTS[tier].tls.required] == [Tier.PREPROD, Tier.PRODUCTION]
    assert [tier for tier in Tier if TIER_DEFAULTS[tier].data.pii_allowed] == [Tier.PRODUCTION]
    assert [tier for tier in Tier if TIER_DEFAULTS[tier].access.literal_password] == [Tier.DEVELOPMENT]


def test_rows_older_than_90_days_are_past_their_time_in_production_only() -> None:
    kept = {tier: [(r.table, r.keep) for r in TIER_DEFAULTS[tier].data.row_retention] for tier in Tier}
    assert kept.pop(Tier.PRODUCTION) == [("messages", 90 * DAY), ("conversations", 90 * DAY)]
    assert not any(kept.values())


@pytest.mark.parametrize(
    ("risk", "development", "qa", "preprod", "production"),
    [
        (Risk.READ, "auto", "auto", "auto", "auto"),
        (Risk.SAFE, "auto", "auto", "auto", "auto"),
        (Risk.GUARDED, "auto", "auto", "auto", "one_approval"),
        (Risk.DANGEROUS, "auto", "auto", "one_approval", "one_approval"),
        (Risk.DESTRUCTIVE, "auto", "one_approval", "two_approvals", "two_approvals"),
    ],
)
def test_consent_matrix(risk: Risk, development: str, qa: str, preprod: str, production: str) -> None:
    consents = [TIER_DEFAULTS[tier].consent.of(risk) for tier in Tier]
    assert consents == [Consent(c) for c in (development, qa, preprod, production)]


def test_guarded_work_waits_for_a_window_from_preprod_on() -> None:
    assert [tier for tier in Tier if TIER_DEFAULTS[tier].window] == [Tier.PREPROD, Tier.PRODUCTION]


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValidationError, match="time zone"):
        MaintenanceWindow(timezone="Rome")
    with pytest.raises(ValidationError, match="Extra inputs"):
        Policy.model_validate({"backups": {}})
    with pytest.raises(ValidationError, match="pattern"):
        RowRetention(table="a.b.c", keep=DAY)


@pytest.mark.parametrize(("one", "two"), [("log", "log"), ("log", "public.log"), ("app.log", "app.log")])
def test_a_table_has_one_rule(one: str, two: str) -> None:
    rules = (RowRetention(table=one, keep=DAY), RowRetention(table=two, column="seen", keep=DAY))
    with pytest.raises(ValidationError, match=r"more than one rule for (public|app)\.log"):
        DataPolicy(row_retention=rules)
    DataPolicy(row_retention=(rules[0], RowRetention(table="other.log", keep=DAY)))
