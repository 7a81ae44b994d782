"""Dashboards show what is exported, from whatever data source they are given."""

import json
import re
from importlib import resources
from typing import Any

import pytest

import collectors
from collectors import Collector
from daemon.telemetry import Telemetry
from fleet.plugins import load_plugins
from rules import Query

FILES = sorted(
    (file for file in resources.files("dashboards").iterdir() if file.name.endswith(".json")), key=lambda f: f.name
)
EXPORTED = {
    metric.name
    for plugin in load_plugins(collectors, Collector).values()
    for family in plugin.families
    for metric in family.metrics
}
EXPORTED |= {family.name for family in Telemetry().registry.collect()} | {"custode_up", "custode_collector_success"}


def test_there_are_dashboards() -> None:
    assert [file.name for file in FILES] == ["fleet.json"]


@pytest.fixture(params=FILES, ids=lambda file: file.name)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return loaded


def targets(dashboard: dict[str, Any]) -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_expression_reads_exported_metrics(dashboard: dict[str, Any]) -> None:
    for title, expression in targets(dashboard):
        plain = expression.replace("$__rate_interval", "5m").replace("$environment", ".+")
        names = Query.compile(plain).names
        assert names, title
        assert names <= EXPORTED, title


def test_counters_are_only_shown_as_rates(dashboard: dict[str, Any]) -> None:
    for title, expression in targets(dashboard):
        assert bool(re.search(r"_total\b", expression)) == ("rate(" in expression), title


def test_panels_are_complete_and_take_the_data_source_that_is_chosen(dashboard: dict[str, Any]) -> None:
    assert dashboard["id"] is None
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for part in (panel, *panel["targets"]):
            assert part["datasource"]["uid"] == "${datasource}"
