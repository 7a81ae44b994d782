"""What holds for every plugin, whoever wrote it: the loader is asked, so that none is forgotten."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grimp
import pytest

import actions
import collectors
import daemon.notifiers
import fleet.disks
import fleet.secrets
import fleet.stores
from actions import Action
from collectors import Collector
from daemon.actions.metrics import NotActing
from daemon.notifiers import Notifier
from daemon.status import PROMISES
from daemon.telemetry import Telemetry
from fleet.disks import DiskSource
from fleet.plugins import load_plugins
from fleet.secrets import SecretSource
from fleet.stores import Store
from rules import AlertRule, Query, RecordRule, load_shipped

TESTS = Path(__file__).parents[1]
SEAMS: Mapping[str, Mapping[str, type[Any]]] = {
    "collectors": load_plugins(collectors, Collector),
    "actions": load_plugins(actions, Action),
    "daemon.notifiers": load_plugins(daemon.notifiers, Notifier),
    "fleet.disks": load_plugins(fleet.disks, DiskSource),
    "fleet.secrets": load_plugins(fleet.secrets, SecretSource),
    "fleet.stores": load_plugins(fleet.stores, Store),
}
COLLECTORS = load_plugins(collectors, Collector)
METRICS = [metric for plugin in COLLECTORS.values() for family in plugin.families for metric in family.metrics]
ABOUT_RUNS = {"up", *(f"collector_{what}" for what in ("success", "duration_seconds", "series", "series_dropped"))}
ABOUT_RUNS |= {"collector_last_success_timestamp_seconds", "collector_gap_info"}


@pytest.mark.parametrize("seam", SEAMS)
def test_there_are_plugins_and_each_says_what_it_is(seam: str) -> None:
    assert SEAMS[seam]
    for plugin in SEAMS[seam].values():
        assert plugin.summary
        assert plugin.__doc__ or plugin.summary


@pytest.mark.parametrize("seam", SEAMS)
def test_no_plugin_imports_another(seam: str) -> None:
    graph = grimp.build_graph(seam.partition(".")[0])
    modules = {f"{seam}.{name}" for name in SEAMS[seam]}
    for module in modules:
        assert not graph.find_modules_directly_imported_by(module) & modules


@pytest.mark.parametrize("name", COLLECTORS)
def test_every_collector_has_a_test_of_its_own(name: str) -> None:
    assert (TESTS / "integration" / f"test_collect_{name}.py").is_file()


def test_metric_names_are_unique_and_well_formed() -> None:
    counted = Counter(metric.name for metric in METRICS)
    assert [name for name, count in counted.items() if count > 1] == []
    for metric in METRICS:
        assert re.fullmatch(r"custode_[a-z0-9_]+", metric.name), metric.name
        assert metric.help, metric.name
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert (metric.kind == "info") == metric.name.endswith("_info"), metric.name


def test_collectors_leave_the_shared_labels_to_the_daemon() -> None:
    for name, plugin in COLLECTORS.items():
        for family in plugin.families:
            assert not {"environment", "tier"} & set(family.labels), name
            assert len(set(family.labels)) == len(family.labels), name


def exported_by_the_daemon() -> set[str]:
    """Names as samples have them: a registry's family leaves out what its type adds."""
    added = {"counter": "_total", "info": "_info"}
    return {f"{family.name}{added.get(family.type, '')}" for family in Telemetry().registry.collect()}


def test_the_names_of_the_daemons_own_metrics_are_those_of_its_samples() -> None:
    telemetry = Telemetry()
    telemetry.actions.attach(NotActing(), ["backup"])
    named = {labels.name for labels, _ in telemetry.samples()}
    assert {"custode_actions_total", "custode_build_info", "custode_store_series"} <= named
    assert named - exported_by_the_daemon() == set()


def test_every_metric_that_a_rule_or_the_status_table_reads_is_exported() -> None:
    rules = [rule for group in load_shipped() for rule in group.rules]
    exported = {metric.name for metric in METRICS} | {f"custode_{name}" for name in ABOUT_RUNS}
    exported |= exported_by_the_daemon() | {rule.name for rule in rules if isinstance(rule, RecordRule)}
    exported |= {"ALERTS", "ALERTS_FOR_STATE"}
    queries = [(rule.name, rule.query) for rule in rules]
    queries += [(one.name, Query.compile(text)) for one in PROMISES for text in (one.made, *one.facts.values())]
    assert len(queries) > 100
    missing = {(name, metric) for name, query in queries for metric in query.names or () if metric not in exported}
    assert missing == set()
    assert all(query.names is not None for _, query in queries)  # what any metric may answer cannot be checked


def test_rules_name_promises_and_actions_that_exist() -> None:
    promises = {promise.name for promise in PROMISES}
    alerts = [rule for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)]
    named = [{name: template.source for name, template in rule.labels} for rule in alerts]
    assert {labels["promise"] for labels in named if "promise" in labels} == promises
    assert {labels["action"] for labels in named if "action" in labels} <= SEAMS["actions"].keys()
    assert {labels["severity"] for labels in named} == {"critical", "warning", "info", "none"}  # none is for machines
