"""The sample configurations beside the dashboards, judged by promtool and amtool."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
import yaml

from rules import AlertRule, load_shipped

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not (shutil.which("promtool") and shutil.which("amtool")),
        reason="needs Debian's prometheus and prometheus-alertmanager",
    ),
]
UNITS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'up{{job="custode",instance="a"}}', values: '1 1 1 1x10 0x20'}}
      - {{series: 'up{{job="custode",instance="b"}}', values: '1 1 1 0x30'}}
    alert_rule_test:
      - {{eval_time: 4m, alertname: CustodeDown, exp_alerts: []}}
      - {{eval_time: 12m, alertname: CustodeDown, exp_alerts: []}}
      - {{eval_time: 30m, alertname: CustodeDown, exp_alerts: [{{exp_labels: {{severity: critical}},
          exp_annotations: {annotations}}}]}}
  - interval: 1m
    input_series: []
    alert_rule_test:
      - {{eval_time: 3m, alertname: CustodeDown, exp_alerts: [{{exp_labels: {{severity: critical}},
          exp_annotations: {annotations}}}]}}
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with resources.as_file(resources.files("dashboards")) as path:
        yield path


def said(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_sample(folder: Path) -> None:
    assert "1 rule files found" in said("promtool", "check", "config", "--lint=all", folder / "prometheus.yml")


def test_what_prometheus_pages_is_what_custode_cannot_say(folder: Path) -> None:
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    (kept,) = config["alerting"]["alert_relabel_configs"]
    own = yaml.safe_load((folder / "custode.rules.yml").read_text(encoding="utf-8"))["groups"]
    known = {rule["alert"] for group in own for rule in group["rules"]}
    known |= {rule.name for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)}
    assert kept["action"] == "keep"
    assert set(kept["regex"].split("|")) <= known
    assert {rule["alert"] for group in own for rule in group["rules"]} <= set(kept["regex"].split("|"))


def test_custode_is_down_when_no_daemon_is_up(folder: Path, tmp_path: Path) -> None:
    rules = folder / "custode.rules.yml"
    said("promtool", "check", "rules", "--lint=all", "--lint-fatal", rules)
    (group,) = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    (annotations,) = [rule["annotations"] for rule in group["rules"] if rule["alert"] == "CustodeDown"]
    unit = tmp_path / "unit.yml"
    unit.write_text(UNITS.format(rules=rules, annotations=annotations), encoding="utf-8")
    said("promtool", "test", "rules", unit)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=CustodeDown severity=critical", "pager"),
        ("alertname=RuleGroupStalled severity=critical", "pager"),
        ("alertname=CustodeAway severity=warning instance=a", "nobody"),
    ],
    ids=["down", "stalled", "away"],
)
def test_the_pager_is_told_that_custode_is_down(folder: Path, labels: str, receiver: str) -> None:
    config = f"--config.file={folder / 'alertmanager.yml'}"
    assert said("amtool", "config", "routes", "test", config, *labels.split()).strip() == receiver


def test_inhibition_names_alerts_and_labels_that_are_there(folder: Path) -> None:
    config = yaml.safe_load((folder / "alertmanager.yml").read_text(encoding="utf-8"))
    own = yaml.safe_load((folder / "custode.rules.yml").read_text(encoding="utf-8"))["groups"]
    known = {rule["alert"] for group in own for rule in group["rules"]}
    known |= {rule.name for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)}
    named = [
        matcher.split('"')[1]
        for rule in config["inhibit_rules"]
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]
        if matcher.startswith("alertname")
    ]
    assert named
    assert set(named) <= known
