"""Prometheus's HTTP API: rules and alerts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from rules import Labels, parse_text
from tests.integration.prometheus_site import NOW, RULES, Site, serving


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving() as found:
        yield found


async def test_rules(site: Site) -> None:
    first, second = (await site.data("rules"))["groups"]
    assert {key: value for key, value in first.items() if key not in {"rules", "evaluationTime"}} == {
        "name": "first",
        "file": "/etc/rules.yml",
        "interval": 30,
        "limit": 5,
        "lastEvaluation": "2023-11-14T22:23:20Z",
    }
    rules = {rule["name"]: rule for rule in first["rules"]}
    states = {name: rule.get("state") for name, rule in rules.items()}
    assert states == {
        "Down": "firing",
        "Slow": "pending",
        "Gone": "inactive",
        "Never": "inactive",
        "up:sum": None,
        "Broken": "inactive",
    }
    down = rules["Down"]
    assert down.pop("evaluationTime") > 0
    assert down == {
        "state": "firing",
        "name": "Down",
        "query": "up == 0",
        "duration": 0,
        "keepFiringFor": 0,
        "labels": {"severity": "page"},
        "annotations": {"summary": "{{ $labels.instance }} is down"},
        "alerts": [DOWN],
        "health": "ok",
        "lastEvaluation": "2023-11-14T22:23:20Z",
        "type": "alerting",
    }
    assert (rules["Slow"]["duration"], rules["Gone"]["keepFiringFor"]) == (3600, 300)
    assert (rules["Broken"]["health"], "lastError" in rules["Broken"]) == ("err", True)
    assert set(rules["up:sum"]) == {"name", "query", "labels", "health", "evaluationTime", "lastEvaluation", "type"}
    assert second["rules"][0]["type"] == "recording"


DOWN = {
    "labels": {"alertname": "Down", "instance": "db2", "job": "pg", "severity": "page"},
    "annotations": {"summary": "db2 is down"},
    "state": "firing",
    "activeAt": "2023-11-14T22:18:20Z",
    "value": "0e+00",
}


async def test_alerts_are_those_that_are_active(site: Site) -> None:
    found = (await site.data("alerts"))["alerts"]
    assert found[0] == DOWN
    assert [(one["labels"]["alertname"], one["state"], one["value"]) for one in found[1:]] == [
        ("Slow", "pending", "1e+00")
    ]


async def test_a_rule_that_is_kept_firing_and_one_never_evaluated(site: Site) -> None:
    gone = [(Labels({"__name__": "gone", "instance": "old"}), 12.5)]
    for at, series in ((NOW, gone), (NOW + 1, [])):
        site.store.land("qa/gone", at, series)
        site.engine.evaluate_all(at)
    group = (await site.data("rules", rule_name_list="Gone"))["groups"][0]["rules"][0]
    assert group["state"] == "firing"
    assert group["alerts"][0]["keepFiringSince"] == "2023-11-14T22:23:21.5Z"
    assert group["alerts"][0]["value"] == "1.25e+01"
    site.engine.reload(parse_text(RULES.replace("Never", "New"), "/etc/rules.yml"))
    group = (await site.data("rules", rule_name_list="New"))["groups"][0]["rules"][0]
    assert (group["health"], group["state"], group["lastEvaluation"]) == ("unknown", "inactive", "0001-01-01T00:00:00Z")


async def test_rules_are_chosen_and_paged(site: Site) -> None:
    async def names(**asked: Any) -> list[list[str]]:
        return [[rule["name"] for rule in group["rules"]] for group in (await site.data("rules", **asked))["groups"]]

    assert await names(type="record") == [["up:sum"], ["one"]]
    assert await names(type="alert", rule_name_list=["Down", "Slow", "one"]) == [["Down", "Slow"]]
    assert await names(rule_group_list="second") == [["one"]]
    assert await names(file_list="/etc/rules.yml", rule_name_list="one") == [["one"]]
    assert await names(file_list="rules.yml") == []
    assert await names(match_list=['{severity="page"}', '{kind="sum"}']) == [["Down", "up:sum"]]
    rules = (await site.data("rules", exclude_alerts="true", rule_name_list="Down"))["groups"][0]["rules"]
    assert (rules[0]["state"], rules[0]["alerts"]) == ("firing", [])
    page = await site.data("rules", group_limit=1)
    assert [group["name"] for group in page["groups"]] == ["first"]
    last = await site.data("rules", group_limit=1, group_next_token=page["groupNextToken"])
    assert [group["name"] for group in last["groups"]] == ["second"]
    assert "groupNextToken" not in last
