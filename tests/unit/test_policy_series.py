"""The configured promises as series: what is not promised has none."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from collectors import Target
from collectors.policy import BACKUP_COPY, BACKUP_RETENTION, PROMISES, RECALL, ROW_RETENTION, PolicyCollector
from fleet.connections import Connections
from fleet.environment import Environment
from fleet.policy import (
    TIER_DEFAULTS,
    BackupPolicy,
    CopyPolicy,
    DataPolicy,
    Policy,
    Retention,
    RowRetention,
    Tier,
)
from fleet.secrets import Secrets, SecretText

DAY = 86_400


def series(
    tier: Tier, policy: Policy | None = None, *, schema_reference: bool = False
) -> dict[str, dict[tuple[str, ...], Any]]:
    """Metric name to label values to value, as the collector gives them for an environment of `tier`."""
    environment = Environment(
        name="e",
        tier=tier,
        dsn=SecretText("postgresql://nowhere/x"),
        policy=policy or TIER_DEFAULTS[tier],
        schema_reference=schema_reference,
    )
    target = Target(environment, Connections(environment, Secrets(time.monotonic)), now=0.0)
    found: dict[str, dict[tuple[str, ...], Any]] = {}
    for rows in asyncio.run(PolicyCollector(PolicyCollector.Options()).collect(target)):
        width = len(rows.family.labels)
        for record in rows.records:
            for metric, value in zip(rows.family.metrics, record[width:], strict=True):
                if value is not None:
                    found.setdefault(metric.name, {})[tuple(record[:width])] = value
    return found


def test_production_is_promised_what_the_guide_says() -> None:
    found = series(Tier.PRODUCTION)
    assert found["custode_policy_backup_interval_seconds"] == {(): 3600}
    assert found["custode_policy_backup_max_age_seconds"] == {(): 3600}
    assert found["custode_policy_restore_test_interval_seconds"] == {(): 7 * DAY}
    assert found["custode_policy_restore_test_every_backup"] == {(): 0}
    assert found["custode_policy_recovery_time_seconds"] == {(): 900}
    assert found["custode_policy_recovery_point_seconds"] == {(): 3600}
    assert found["custode_policy_backup_retention_seconds"] == {
        ("hourly",): DAY,
        ("daily",): 30 * DAY,
        ("weekly",): 90 * DAY,
        ("monthly",): 365 * DAY,
    }
    assert found["custode_policy_tls_required"] == {(): 1}
    assert found["custode_policy_pii_allowed"] == {(): 1}
    assert found["custode_policy_row_retention_seconds"] == {
        ("public", "messages"): 90 * DAY,
        ("public", "conversations"): 90 * DAY,
    }
    assert found["custode_policy_recall_ratio"] == {("ivfflat",): 0.85, ("hnsw",): 0.90}
    assert "custode_policy_refresh_interval_seconds" not in found
    assert "custode_policy_data_scan_interval_seconds" not in found


def test_development_is_promised_nothing_but_scans_and_has_no_such_series() -> None:
    found = series(Tier.DEVELOPMENT)
    assert found == {
        "custode_policy_restore_test_every_backup": {(): 0},
        "custode_policy_tls_required": {(): 0},
        "custode_policy_pii_allowed": {(): 0},
        "custode_policy_data_scan_interval_seconds": {(): DAY},
        "custode_policy_disk_free_ratio": {(): 0.10},
        "custode_policy_same_schema": {(): 1},
        "custode_policy_schema_follows": {(): 1},
        "custode_policy_schema_reference": {(): 0},
    }


def test_the_schema_reference_is_whoever_was_named() -> None:
    assert series(Tier.PRODUCTION)["custode_policy_schema_reference"] == {(): 0}
    assert series(Tier.QA, schema_reference=True)["custode_policy_schema_reference"] == {(): 1}


def test_rows_are_kept_by_table_of_a_schema() -> None:
    rules = (
        RowRetention(table="app.log", keep=timedelta(days=1)),
        RowRetention(table="log", keep=timedelta(days=2)),
    )
    found = series(Tier.QA, Policy(data=DataPolicy(row_retention=rules)))
    assert found["custode_policy_row_retention_seconds"] == {("app", "log"): DAY, ("public", "log"): 2 * DAY}


@pytest.mark.parametrize(
    ("interval", "recovery_point", "expected"),
    [(2, 1, {(): DAY}), (1, 2, {(): DAY}), (1, None, {(): DAY}), (None, 1, {(): DAY}), (None, None, None)],
)
def test_the_shorter_of_interval_and_recovery_point_counts(
    interval: int | None, recovery_point: int | None, expected: dict[tuple[str, ...], float] | None
) -> None:
    days = [None if value is None else timedelta(days=value) for value in (interval, recovery_point)]
    found = series(Tier.QA, Policy(backup=BackupPolicy(interval=days[0], recovery_point=days[1])))
    assert found.get("custode_policy_backup_max_age_seconds") == expected


def test_series_of_retention_that_last_a_while_and_further_copies() -> None:
    backup = BackupPolicy(
        retention=Retention(last=3, yearly=timedelta(days=3650)),
        copies={"offsite": CopyPolicy(interval=timedelta(days=1)), "archive": CopyPolicy()},
        test_every_backup=True,
    )
    found = series(Tier.QA, Policy(backup=backup))
    assert found["custode_policy_backup_retention_seconds"] == {("yearly",): 3650 * DAY}
    assert found["custode_policy_backup_copy_info"] == {("offsite",): 1, ("archive",): 1}
    assert found["custode_policy_backup_copy_interval_seconds"] == {("offsite",): DAY}
    assert found["custode_policy_restore_test_every_backup"] == {(): 1}


def test_every_promise_of_the_contract_is_declared() -> None:
    families = (PROMISES, BACKUP_RETENTION, BACKUP_COPY, ROW_RETENTION, RECALL)
    assert len({metric.name for family in families for metric in family.metrics}) == 19
    assert PolicyCollector.families == families
