"""Dashboards are what their builder makes, and good; every rule for them catches one that is not."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards._builder.__main__ import files
from tests.unit.dashboard_rules import DASHBOARDS, faults, panels

FOLDER = resources.files("dashboards")
LOADED: dict[str, Any] = {
    file.name: json.loads(file.read_text(encoding="utf-8"))
    for file in sorted(FOLDER.iterdir(), key=lambda file: file.name)
    if file.name.endswith(".json")
}


def test_there_are_six() -> None:
    assert {one["uid"] for one in LOADED.values()} == DASHBOARDS
    assert set(LOADED) == {uid.removeprefix("custode-") + ".json" for uid in DASHBOARDS}


@pytest.mark.parametrize("name", LOADED)
def test_is_as_its_builder_makes_it(name: str) -> None:
    assert FOLDER.joinpath(name).read_text(encoding="utf-8") == files()[name], "run python -m dashboards._builder"


@pytest.mark.parametrize("name", LOADED)
def test_keeps_the_rules(name: str) -> None:
    assert faults(LOADED[name]) == []


def test_panels_are_few_enough_to_be_looked_at() -> None:
    assert {name: len(panels(one)) for name, one in LOADED.items() if not 12 <= len(panels(one)) <= 21} == {}


def _first(kind: str, dashboard: Any) -> Any:
    return next(panel for panel in dashboard["panels"] if panel["type"] == kind)


def _target(dashboard: Any) -> Any:
    return _first("stat", dashboard)["targets"][0]


def _set(place: Any, **values: Any) -> None:
    place |= values


def _asks(expression: str) -> Callable[[Any], None]:
    return lambda dashboard: _set(_target(dashboard), expr=expression)


OF = 'job=~"$job",instance=~"$instance"'
MUTATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "id": (lambda d: _set(d, id=7), "id is a server's own"),
    "uid": (lambda d: _set(d, uid="other"), "uid is not known"),
    "editable": (lambda d: _set(d, editable=True), "editable"),
    "schema": (lambda d: _set(d, schemaVersion=42), "schemaVersion"),
    "tag": (lambda d: _set(d, tags=[]), "no tag"),
    "datasource": (lambda d: d["templating"]["list"].pop(0), "no variable to choose the data source"),
    "datasource of a panel": (lambda d: _set(_first("stat", d), datasource={"uid": "P"}), "data source of its own"),
    "datasource of a target": (lambda d: _set(_target(d), datasource={"uid": "P"}), "data source of its own"),
    "job": (lambda d: d["templating"]["list"].pop(1), "no variable job"),
    "one instance": (lambda d: _set(d["templating"]["list"][2], multi=False), "no variable instance"),
    "refresh": (lambda d: _set(d["templating"]["list"][1], refresh=1), "not read again"),
    "label": (lambda d: _set(d["templating"]["list"][1], label=""), "has no label"),
    "metrics()": (lambda d: _set(d["templating"]["list"][1], query={"query": "metrics(a)"}), "lists no label"),
    "address": (lambda d: d["templating"]["list"].pop(), "no variable for the address"),
    "title": (lambda d: _set(d["panels"][1], title=d["panels"][0]["title"]), "not unique"),
    "no title": (lambda d: _set(d["panels"][1], title=""), "not unique"),
    "description": (lambda d: _set(d["panels"][1], description=""), "no description"),
    "panel id": (lambda d: _set(d["panels"][1], id=d["panels"][0]["id"]), "one id"),
    "grid": (lambda d: _set(d["panels"][1]["gridPos"], w=30), "outside the grid"),
    "cover": (lambda d: _set(d["panels"][1]["gridPos"], **d["panels"][0]["gridPos"]), "covers"),
    "kind": (lambda d: _set(d["panels"][1], type="graph"), "unknown kind"),
    "unit": (lambda d: _set(d["panels"][1]["fieldConfig"]["defaults"], unit="seconds"), "unknown unit"),
    "no unit": (lambda d: d["panels"][1]["fieldConfig"]["defaults"].pop("unit"), "unknown unit"),
    "unit of a column": (
        lambda d: _first("table", d)["fieldConfig"]["overrides"][-1]["properties"].append({"id": "unit", "value": "x"}),
        "unknown unit",
    ),
    "thresholds": (
        lambda d: d["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"].append({"value": -1}),
        "do not ascend",
    ),
    "no thresholds": (lambda d: d["panels"][1]["fieldConfig"]["defaults"].pop("thresholds"), "do not ascend"),
    "no targets": (lambda d: _set(_first("stat", d), targets=[]), "asks for nothing"),
    "refId": (lambda d: _set(_first("table", d)["targets"][1], refId="A"), "refIds"),
    "no refId": (lambda d: _set(_target(d), refId=""), "refIds"),
    "sorted by": (lambda d: _set(_first("table", d)["options"], sortBy=[{"displayName": "x"}]), "is not there"),
    "heading": (
        lambda d: _first("table", d)["transformations"][1]["options"]["renameByName"].pop("environment"),
        "a label has no heading",
    ),
    "language": (_asks(f"sum(custode_up{{{OF}}}"), "unclosed left parenthesis"),
    "renamed metric": (_asks(f"custode_is_up{{{OF}}}"), "nobody exports"),
    "counter without _total": (_asks(f"rate(custode_actions{{{OF}}}[$__rate_interval])"), "nobody exports"),
    "annotation": (
        lambda d: _set(d["annotations"]["list"][0]["target"], expr=f"custode_gone{{{OF}}}"),
        "annotation Alerts: names metrics that nobody exports",
    ),
    "variable": (
        lambda d: _set(d["templating"]["list"][3], query={"query": f"label_values(custode_gone{{{OF}}}, environment)"}),
        "variable environment: names metrics that nobody exports",
    ),
    "no matchers": (_asks("custode_up"), "not of the chosen instance and job"),
    "one matcher": (_asks('custode_up{job=~"$job"}'), "not of the chosen"),
    "unknown variable": (_asks(f'custode_up{{{OF},tier=~"$tier"}}'), "no variable tier"),
    "fixed range": (_asks(f"rate(custode_actions_total{{{OF}}}[5m])"), "a range that is not Grafana's"),
    "bare counter": (_asks(f"custode_actions_total{{{OF}}}"), "a counter as it stands"),
    "rate of a gauge": (_asks(f"rate(custode_sessions{{{OF}}}[$__rate_interval])"), "no counter"),
    "legend": (lambda d: _set(_target(d), legendFormat="{{nobody}}"), "a label that is not there"),
    "no links": (lambda d: _set(d, links=[]), "no links"),
    "link": (lambda d: _set(d["panels"][0], links=[{"url": "${custode_url}/nowhere"}]), "a link to nowhere"),
    "link to a dashboard": (lambda d: _set(d["panels"][0], links=[{"url": "/d/other?a=b"}]), "a link to nowhere"),
}


@pytest.mark.parametrize(("change", "expected"), MUTATIONS.values(), ids=MUTATIONS)
def test_a_bad_one_is_caught(change: Callable[[Any], None], expected: str) -> None:
    bad = copy.deepcopy(LOADED["fleet.json"])
    change(bad)
    found = faults(bad)
    assert any(expected in fault for fault in found), found


def test_the_builder_writes_the_files(tmp_path: Path) -> None:
    with resources.as_file(FOLDER) as folder:
        copied = tmp_path / "dashboards"
        (copied / "_builder").mkdir(parents=True)
        for file in ["__init__.py", *(f"_builder/{file.name}" for file in (folder / "_builder").glob("*.py"))]:
            (copied / file).write_text((folder / file).read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dashboards._builder"], cwd=tmp_path, check=True, timeout=60)
    assert {file.name for file in copied.glob("*.json")} == set(LOADED)


def test_grafana_is_told_where_dashboards_and_data_are() -> None:
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/custode.yml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
    assert provider["options"]["path"]
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/custode.yml").read_text())["datasources"]
    assert [source["type"] for source in sources] == ["prometheus", "prometheus"]
    assert [source["isDefault"] for source in sources if "isDefault" in source] == [True]
    assert len({source["uid"] for source in sources}) == 2
