"""What a dashboard must be, rule by rule; after Grafana's dashboard-linter, and what we ask beyond it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

import promql_parser

import collectors
from collectors import Collector
from daemon.page.frame import TABS
from daemon.telemetry import Telemetry
from fleet.plugins import load_plugins
from rules import Query, load_shipped

Json = Mapping[str, Any]
Rule = Callable[[Json], Iterator[str]]

OF_PROMETHEUS = {"up", "ALERTS"}  # made by whoever scrapes and judges
_SUFFIXES = {"counter": "_total", "info": "_info"}
_OF_RUNS = {"up", "collector_success", "collector_duration_seconds", "collector_last_success_timestamp_seconds"}
_OF_RUNS |= {"collector_series", "collector_series_dropped", "collector_gap_info"}
EXPORTED = {
    metric.name
    for plugin in load_plugins(collectors, Collector).values()
    for family in plugin.families
    for metric in family.metrics
}
EXPORTED |= {f"custode_{name}" for name in _OF_RUNS}
EXPORTED |= {family.name + _SUFFIXES.get(family.type, "") for family in Telemetry().registry.collect()}
EXPORTED |= {rule.name for group in load_shipped() for rule in group.rules if not hasattr(rule, "annotations")}

# of Grafana's units those that we show figures in
UNITS = {"none", "short", "string", "percentunit", "s", "bytes", "Bps", "ops", "dateTimeFromNow"}
KINDS = {"row", "stat", "timeseries", "table", "bargauge"}
COUNTS = {"Indexes that nobody uses A"}  # where a count itself is meant: not one scan since statistics began
DASHBOARDS = {f"custode-{name}" for name in ("fleet", "environment", "vectors", "backups", "actions", "daemon")}
_AS_GRAFANA = {"$__rate_interval": "1m", "$__range": "6h"}


def substituted(expression: str, values: Mapping[str, str] | None = None) -> str:
    """The expression with its variables as Grafana fills them in; `values` by name, all of everything else."""
    for name, value in _AS_GRAFANA.items():
        expression = expression.replace(name, value)
    return re.sub(r"\$(\w+)", lambda found: (values or {}).get(found[1], ".*"), expression)


def panels(dashboard: Json) -> list[Json]:
    """Those that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every panel, annotation and variable; a variable's is the selector that it lists labels of."""
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", annotation["target"]["expr"]
    for name, (selector, _) in listed(dashboard).items():
        yield f"variable {name}", selector


def variables(dashboard: Json) -> dict[str, Json]:
    return {one["name"]: one for one in dashboard["templating"]["list"]}


def listed(dashboard: Json) -> dict[str, tuple[str, str]]:
    """By variable (selector, label) of its label_values()."""
    queries = {name: one["query"]["query"] for name, one in variables(dashboard).items() if one["type"] == "query"}
    found = {name: re.fullmatch(r"label_values\((.+), (\w+)\)", query) for name, query in queries.items()}
    return {name: (match[1], match[2]) for name, match in found.items() if match}


def _document(dashboard: Json) -> Iterator[str]:
    if dashboard["id"] is not None:
        yield "id is a server's own"
    if dashboard["uid"] not in DASHBOARDS:
        yield "uid is not known"
    if dashboard["editable"]:
        yield "editable"
    if not 36 <= dashboard["schemaVersion"] <= 41:
        yield "schemaVersion is not of Grafana 10 to 13's classic schema"
    if not {"custode"} <= set(dashboard["tags"]):
        yield "no tag to find it by"


def _datasource(dashboard: Json) -> Iterator[str]:
    chosen = variables(dashboard).get("datasource", {})
    if (chosen.get("type"), chosen.get("query")) != ("datasource", "prometheus"):
        yield "no variable to choose the data source by"
    parts = [*panels(dashboard), *dashboard["annotations"]["list"]]
    parts += [target for panel in panels(dashboard) for target in panel["targets"]]
    parts += [one for one in variables(dashboard).values() if one["type"] == "query"]
    if any(part["datasource"] != {"type": "prometheus", "uid": "${datasource}"} for part in parts):
        yield "a part has a data source of its own"


def _variables(dashboard: Json) -> Iterator[str]:
    have = variables(dashboard)
    for name in ("job", "instance"):
        one = have.get(name, {})
        if not (one.get("multi") and one.get("includeAll") and one.get("allValue") == ".*"):
            yield f"no variable {name} for all of them"
    for name, one in have.items():
        if not one.get("label"):
            yield f"variable {name} has no label"
        if one["type"] == "query" and one["refresh"] != 2:
            yield f"variable {name} is not read again when the time range changes"
        if one["type"] == "query" and name not in listed(dashboard):
            yield f"variable {name} lists no label"
    if have.get("custode_url", {}).get("type") != "textbox":
        yield "no variable for the address of the status page"


def _titles(dashboard: Json) -> Iterator[str]:
    titles = [panel["title"] for panel in dashboard["panels"]]
    for title in {title for title in titles if titles.count(title) > 1 or not title}:
        yield f"title {title!r} is not unique"
    for panel in panels(dashboard):
        if not panel["description"].endswith("."):
            yield f"{panel['title']}: no description"


def _places(dashboard: Json) -> Iterator[str]:
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    if len(set(identifiers)) < len(identifiers):
        yield "two panels have one id"
    for panel in dashboard["panels"]:
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > 24:
            yield f"{panel['title']}: outside the grid"
    for one, other in combinations(dashboard["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        if all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "w"), ("y", "h"))):
            yield f"{one['title']} covers {other['title']}"


def _fields(dashboard: Json) -> Iterator[str]:
    for panel in dashboard["panels"]:
        if panel["type"] not in KINDS:
            yield f"{panel['title']}: unknown kind of panel"
    for panel in panels(dashboard):
        defaults, overrides = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["overrides"]
        properties = [each for override in overrides for each in override["properties"]]
        units = [defaults.get("unit"), *(each["value"] for each in properties if each["id"] == "unit")]
        if not set(units) <= UNITS:
            yield f"{panel['title']}: unknown unit"
        scales = [defaults.get("thresholds"), *(each["value"] for each in properties if each["id"] == "thresholds")]
        for scale in scales:
            values = [step["value"] for step in (scale or {"steps": []})["steps"]]
            if not values or values[0] is not None or values[1:] != sorted(values[1:]):
                yield f"{panel['title']}: thresholds do not ascend from the lowest"


def _targets(dashboard: Json) -> Iterator[str]:
    for panel in panels(dashboard):
        if not panel.get("targets"):
            yield f"{panel['title']}: asks for nothing"
        references = [target["refId"] for target in panel.get("targets", ())]
        if len(set(references)) < len(references) or not all(references):
            yield f"{panel['title']}: refIds are not unique"


def _columns(dashboard: Json) -> Iterator[str]:
    for panel in panels(dashboard):
        if panel["type"] == "table":
            shown = panel["transformations"][1]["options"]["renameByName"]
            styled = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            if not styled | {one["displayName"] for one in panel["options"]["sortBy"]} <= set(shown.values()):
                yield f"{panel['title']}: a column that is not there is styled or sorted by"
            for target in panel["targets"]:
                label = re.search(r"by \(([\w, ]+)\)", target["expr"])
                if not label or not set(shown) >= set(label[1].split(", ")) - {"datname", "schemaname"}:
                    yield f"{panel['title']} {target['refId']}: a label has no heading"


def _language(dashboard: Json) -> Iterator[str]:
    for where, expression in expressions(dashboard):
        try:
            promql_parser.parse(substituted(expression))
            names = Query.compile(substituted(expression)).names or frozenset()
        except ValueError as error:
            yield f"{where}: {error}"
        else:
            if not names or not names <= EXPORTED | OF_PROMETHEUS:
                yield f"{where}: names metrics that nobody exports: {names - EXPORTED - OF_PROMETHEUS}"


def _matchers(dashboard: Json) -> Iterator[str]:
    have = variables(dashboard)
    for where, expression in expressions(dashboard):
        for used in re.findall(r"\$(\w+)", expression):
            if used not in have and f"${used}" not in _AS_GRAFANA:
                yield f"{where}: no variable {used}"
        if where in {"variable job", "variable instance"}:
            continue
        for name, matchers in re.findall(r"\b((?:custode|process)_\w+|up\b|ALERTS)(?:{([^}]*)})?", expression):
            asked = {"environment"} if name == "ALERTS" else {"job", "instance"}
            if not all(f'{label}=~"${label}"' in matchers for label in asked):
                yield f"{where}: {name} is not of the chosen {' and '.join(sorted(asked))}"


def _ranges(dashboard: Json) -> Iterator[str]:
    for where, expression in expressions(dashboard):
        if not set(re.findall(r"\[(.*?)\]", expression)) <= set(_AS_GRAFANA):
            yield f"{where}: a range that is not Grafana's"


def _counters(dashboard: Json) -> Iterator[str]:
    for where, expression in expressions(dashboard):
        bare = re.sub(r"\b(?:rate|irate|increase)\(\w+_total{", "", expression)
        if re.search(r"_total\b", bare) and where not in COUNTS:
            yield f"{where}: a counter as it stands"
        if any(not name.endswith("_total") for name in re.findall(r"\b(?:rate|irate|increase)\((\w+)", expression)):
            yield f"{where}: a rate of what is no counter"


def _legends(dashboard: Json) -> Iterator[str]:
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            kept = {label for each in re.findall(r"by \(([\w, ]+)\)", target["expr"]) for label in each.split(", ")}
            if not set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept:
                yield f"{panel['title']} {target['refId']}: the legend has a label that is not there"


def _links(dashboard: Json) -> Iterator[str]:
    if not any(link["type"] == "dashboards" and link["includeVars"] for link in dashboard["links"]):
        yield "no links to the other dashboards"
    found = [link["url"] for link in dashboard["links"] if link["type"] == "link"]
    found += [link["url"] for panel in panels(dashboard) for link in panel["links"]]
    for panel in panels(dashboard):
        for override in panel["fieldConfig"]["overrides"]:
            found += [link["url"] for each in override["properties"] if each["id"] == "links" for link in each["value"]]
    for url in found:
        path = url.removeprefix("${custode_url}")
        ours = path != url and any(tab.holds(path) for tab in TABS)
        if not ours and re.sub(r"^/d/([\w-]+)\?.*", r"\1", url) not in DASHBOARDS:
            yield f"a link to nowhere: {url}"


RULES: tuple[Rule, ...] = (
    _document,
    _datasource,
    _variables,
    _titles,
    _places,
    _fields,
    _targets,
    _columns,
    _language,
    _matchers,
    _ranges,
    _counters,
    _legends,
    _links,
)


def faults(dashboard: Json) -> list[str]:
    """What is wrong with it."""
    return [fault for rule in RULES for fault in rule(dashboard)]
