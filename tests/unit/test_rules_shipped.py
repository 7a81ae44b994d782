"""The shipped rules, judged by the promtool test files beside them, here on our own engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import collectors
from collectors import Collector
from fleet.plugins import load_plugins
from rules import AlertRule, Labels, RuleEngine, SampleStore, State, load_files, load_shipped, shipped
from rules.durations import parse_duration

FOLDER = Path(__file__).parents[2] / "rules"
TEST_FILES = sorted((FOLDER / "tests").glob("*.yml"))
PROMISES = {"reachable", "backup", "restore_test", "schema", "vectors", "indexes", "disk", "security", "data"}
ALERTS = {rule.name: rule for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)}
OF_THE_RUN = {
    "custode_up",
    "custode_collector_success",
    "custode_collector_series_dropped",
    "custode_collector_gap_info",
}

_SERIES = re.compile(r"(?P<name>\w+)\{(?P<labels>.*)\}")
_VALUE = re.compile(r"(?P<start>_|-?[\d.]+)(?:(?P<step>[+-][\d.]+)?x(?P<times>\d+))?")


def _labels(series: str) -> Labels:
    match = _SERIES.fullmatch(series)
    assert match is not None, series
    return Labels({"__name__": match["name"], **dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))})


def _values(text: str) -> Iterator[float | str | None]:
    """Promtool's expanding notation: a value, None where there is none, "stale"."""
    for part in text.split():
        if part == "stale":
            yield part
            continue
        match = _VALUE.fullmatch(part)
        assert match is not None, part
        times = int(match["times"] or 0)
        if match["start"] == "_":
            yield from [None] * max(1, times)
        else:
            yield from (float(match["start"]) + index * float(match["step"] or 0) for index in range(times + 1))


def _cases() -> Iterator[Any]:
    for path in TEST_FILES:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for test in document["tests"]:
            yield pytest.param(path, document, test, id=f"{path.stem}: {test['name']}")


@pytest.mark.parametrize(("path", "document", "test"), list(_cases()))
def test_alerts_are_those_that_promtool_expects(path: Path, document: dict[str, Any], test: dict[str, Any]) -> None:
    store = SampleStore()
    engine = RuleEngine(store, load_files([path.parent / name for name in document["rule_files"]]))
    step, spacing = parse_duration(test["interval"]), parse_duration(document["evaluation_interval"])
    series = [(_labels(one["series"]), list(_values(str(one["values"])))) for one in test["input_series"]]
    cases: dict[float, list[dict[str, Any]]] = {}
    for case in test["alert_rule_test"]:
        cases.setdefault(parse_duration(case["eval_time"]), []).append(case)

    landed = 0
    for index in range(int(max(cases) // spacing) + 1):
        now = index * spacing
        while landed * step <= now:
            for labels, values in series:
                value = values[landed] if landed < len(values) else None
                if value is not None:
                    sample = [] if isinstance(value, str) else [(labels, value)]
                    store.land(repr(labels), landed * step, sample)
            landed += 1
        engine.evaluate(now)
        assert all(rule.health == "ok" for rule in engine.rules()), [rule.last_error for rule in engine.rules()]
        for case in cases.pop(now, []):
            assert _firing(engine, case["alertname"]) == _expected(case)
    assert not cases, "an eval_time is no multiple of evaluation_interval"


def _firing(engine: RuleEngine, name: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    firing = [alert for alert in engine.alerts() if alert.name == name and alert.state == State.FIRING]
    found = [(dict(alert.labels), dict(alert.annotations)) for alert in firing]
    return sorted(found, key=repr)


def _expected(case: dict[str, Any]) -> list[tuple[dict[str, str], dict[str, str]]]:
    name = {"alertname": case["alertname"]}
    alerts = case.get("exp_alerts", [])
    found = [(dict(Labels({**one["exp_labels"], **name})), one["exp_annotations"]) for one in alerts]
    return sorted(((labels, annotations) for labels, annotations in found), key=repr)


def test_every_file_ships_with_tests() -> None:
    assert len(TEST_FILES) >= 9
    assert [path.name for path in TEST_FILES] == [file.name for file in shipped()]


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in TEST_FILES]
    cases = [case for document in documents for test in document["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS)


@pytest.mark.parametrize("rule", ALERTS.values(), ids=list(ALERTS))
def test_alert_says_what_people_and_the_status_table_need(rule: AlertRule) -> None:
    labels = {name: template.constant for name, template in rule.labels}
    annotations = {name: template.source for name, template in rule.annotations}
    assert labels["severity"] in {"critical", "warning", "info"}
    # an alert without one breaks no promise and must ask for something instead
    assert labels["promise"] in PROMISES if "promise" in labels else labels["action"]
    assert labels.keys() <= {"severity", "promise", "action"}
    assert labels.get("action") == ("backup" if rule.name in {"BackupDue", "BackupMissing", "BackupTooOld"} else None)
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["runbook_url"].endswith(f"README.md#{rule.name.lower()}")
    assert "$labels.environment" in annotations["summary"]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=list(ALERTS))
def test_alert_is_general_and_evaluated_on_arrival(rule: AlertRule) -> None:
    assert "environment=" not in rule.query.text
    assert rule.query.instant
    assert rule.query.names


def test_every_metric_that_a_rule_reads_is_exported() -> None:
    exported = {
        metric.name
        for collector in load_plugins(collectors, Collector).values()
        for family in collector.families
        for metric in family.metrics
    }
    read = {name for rule in ALERTS.values() for name in rule.query.names or ()}
    assert len(read) > 30
    assert read <= exported | OF_THE_RUN
