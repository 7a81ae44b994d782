"""The shipped rules, judged by the promtool test files beside them, here on our own engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import collectors
from collectors import Collector
from daemon.telemetry import Telemetry
from fleet.plugins import load_plugins
from rules import AlertRule, Dialect, load_shipped, shipped
from rules.unittests import describe_failure, run_file

FOLDER = Path(__file__).parents[2] / "rules"
TEST_FILES = sorted((FOLDER / "tests").glob("*.yml"))
PROMISES = {"reachable", "backup", "restore_test", "schema", "vectors", "indexes", "disk", "security", "data"}
GROUPS = {group.name: [rule for rule in group.rules if isinstance(rule, AlertRule)] for group in load_shipped()}
ALERTS = {rule.name: rule for rules in GROUPS.values() for rule in rules}
OF_CUSTODE = {rule.name for group in ("custode", "notify") for rule in GROUPS[group]}  # there is no environment to name
OF_THE_RUN = {
    "custode_up",
    "custode_collector_success",
    "custode_collector_series_dropped",
    "custode_collector_gap_info",
}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_alerts_are_those_that_promtool_expects(path: Path) -> None:
    outcome = run_file(path, Dialect())
    assert outcome.problems == ()
    assert [line for failure in outcome.failures for line in describe_failure(path.name, failure)] == []


def test_every_file_ships_with_tests() -> None:
    assert len(TEST_FILES) >= 14
    assert {file.name for file in shipped()} <= {path.name for path in TEST_FILES}


ASKS = {
    **dict.fromkeys(("BackupDue", "BackupMissing", "BackupTooOld"), "backup"),
    **dict.fromkeys(("StatisticsStale", "StatisticsMissing"), "analyze"),
    **dict.fromkeys(("FreezeLate", "XidAgeHigh", "XidWraparoundNear", "MultixactWraparoundNear"), "vacuum"),
    **dict.fromkeys(("DeadTuplesHigh", "VacuumLate"), "vacuum"),
    **dict.fromkeys(("BackupCopyDue", "BackupCopyBehind", "BackupCopyMissing"), "replicate_backups"),
    **dict.fromkeys(
        ("RestoreTestDue", "RestoreTestMissing", "RestoreTestOverdue", "RestoreTimeUnknown"), "restore_test"
    ),
    "BackupsNotPruned": "prune_backups",
    "IndexInvalid": "drop_invalid_index",
    "IndexBloated": "reindex",
    "IndexUnusedForLong": "drop_unused_index",
    **dict.fromkeys(
        (
            "VectorIndexBuiltOnTooFewRows",
            "VectorIndexOutgrown",
            "VectorIndexListsOff",
            "VectorIndexBeforeUpgrade",
            "VectorIndexParametersChanged",
        ),
        "rebuild_vector_index",
    ),
    "RefreshOverdue": "refresh",
    "RowsPastRetention": "cleanup",
    **dict.fromkeys(("DiskSpaceLow", "DiskSpaceCritical"), "relieve_disk"),
    **dict.fromkeys(("DataScanMissing", "DataScanDue"), "scan_data"),
    "TransactionLeftOpen": "terminate_idle_transaction",
}
# what works on one store gets it from the copy that the alert is about
OF_A_STORE = {"replicate_backups", "prune_backups"}


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TEST_FILES]
    cases = [case for document in documents for test in document["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS) - {"Watchdog"}


@pytest.mark.parametrize("rule", ALERTS.values(), ids=list(ALERTS))
def test_alert_says_what_people_and_the_status_table_need(rule: AlertRule) -> None:
    labels = {name: template.constant for name, template in rule.labels}
    annotations = {name: template.source for name, template in rule.annotations}
    assert labels["severity"] in {"critical", "warning", "info"} or (rule.name, labels["severity"]) == (
        "Watchdog",
        "none",
    )
    assert labels.get("promise", "") in {"", *PROMISES}  # without one, it breaks none
    assert labels.keys() <= {"severity", "promise", "action", "store"}
    assert labels.get("action") == ASKS.get(rule.name)
    stores = [template.source for name, template in rule.labels if name == "store"]
    assert stores == (["{{ $labels.copy }}"] if labels.get("action") in OF_A_STORE else [])
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"].endswith(f"README.md#{rule.name.lower()}")
    assert ("$labels.environment" in annotations["summary"]) == (rule.name not in OF_CUSTODE)
    assert "promise" not in labels or rule.name not in OF_CUSTODE


@pytest.mark.parametrize("rule", ALERTS.values(), ids=list(ALERTS))
def test_alert_is_general(rule: AlertRule) -> None:
    assert "environment=" not in rule.query.text
    assert rule.query.names or rule.name == "Watchdog"


@pytest.mark.parametrize("rule", ALERTS.values(), ids=list(ALERTS))
def test_what_asks_for_an_action_is_evaluated_on_arrival(rule: AlertRule) -> None:
    assert not rule.query.ranged or "action" not in dict(rule.labels)


def test_every_metric_that_a_rule_reads_is_exported() -> None:
    exported = {
        metric.name
        for collector in load_plugins(collectors, Collector).values()
        for family in collector.families
        for metric in family.metrics
    }
    # of a counter the client library tells the name without its ending
    own = {
        metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        for metric in Telemetry().registry.collect()
    }
    read = {name for rule in ALERTS.values() for name in rule.query.names or ()}
    assert len(read) > 30
    assert read - exported - OF_THE_RUN - own == set()
