"""What all dashboards have: variables, annotations, links, and the place of every panel."""

from __future__ import annotations

from collections.abc import Iterable

from dashboards._builder.panels import DATASOURCE, Json, filled

SCHEMA = 39  # of Grafana 10; later ones read and raise it
COLUMNS = 24


def variable(name: str, label: str, query: str, *, several: bool = True) -> Json:
    """Of those that `query` lists, one or several. All of them is also what has no such label: read from Custode
    itself, series have neither job nor instance."""
    chosen = {"text": ["All"], "value": ["$__all"]} if several else {}
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": filled(query),
        "query": {"query": filled(query), "refId": "StandardVariableQuery"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": several,
        "includeAll": several,
        "allValue": ".*" if several else None,
        "current": chosen,
    }


def _annotation(name: str, expr: str, title: str, text: str, color: str) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "titleFormat": title,
        "textFormat": text,
        "target": {"refId": "Anno", "expr": filled(expr), "interval": ""},
    }


# as rules make it, ALERTS may be without job and instance; Prometheus has it when it evaluates Custode's rules as well
ALERTS = _annotation(
    "Alerts",
    'ALERTS{environment=~"$environment",alertstate="firing",severity=~"warning|critical"}',
    "{{alertname}}",
    "{{environment}}",
    "red",
)
ACTIONS = _annotation(
    "Actions",
    'sum by (environment) (custode_action_runs{$ENV,state="running"}) > 0',
    "an action is at work",
    "{{environment}}",
    "blue",
)
SERVER_STARTS = _annotation(
    "Server starts",
    "changes(custode_server_start_timestamp_seconds{$ENV}[$__rate_interval]) > 0",
    "the server was started",
    "{{environment}}",
    "orange",
)
CUSTODE_STARTS = _annotation(
    "Custode starts",
    "changes(process_start_time_seconds{$SELF}[$__rate_interval]) > 0",
    "Custode was started",
    "{{instance}}",
    "orange",
)

ENVIRONMENTS = variable("environment", "Environment", "label_values(custode_up{$SELF}, environment)")
ENVIRONMENT = variable("environment", "Environment", "label_values(custode_up{$SELF}, environment)", several=False)


def dashboard(
    name: str,
    title: str,
    description: str,
    panels: Iterable[Json],
    *,
    variables: Iterable[Json] = (ENVIRONMENTS,),
    annotations: Iterable[Json] = (ALERTS, ACTIONS),
) -> Json:
    """The dashboard `name`.json. Names and uids stay, as people's bookmarks hold them."""
    address = "http://127.0.0.1:9188"
    return {
        "id": None,
        "uid": f"custode-{name}",
        "title": f"Custode: {title}",
        "description": description,
        "tags": ["custode", "postgresql"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                variable("job", "Job", "label_values(custode_build_info, job)"),
                variable("instance", "Instance", 'label_values(custode_build_info{job=~"$job"}, instance)'),
                *variables,
                {
                    "name": "custode_url",
                    "type": "textbox",
                    "label": "Status page",
                    "query": address,
                    "current": {"text": address, "value": address},
                },
            ]
        },
        "annotations": {"list": list(annotations)},
        "links": [
            {
                "type": "dashboards",
                "title": "Custode",
                "tags": ["custode"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            },
            {
                "type": "link",
                "title": "Status page",
                "icon": "external link",
                "url": "${custode_url}/",
                "targetBlank": True,
            },
        ],
        "panels": _placed(panels),
    }


def _placed(panels: Iterable[Json]) -> list[Json]:
    """From left to right, and on a new line where there is no room."""
    placed: list[Json] = []
    x = y = tall = 0
    for number, panel in enumerate(panels, 1):
        size = panel["gridPos"]
        if x + size["w"] > COLUMNS:
            x, y, tall = 0, y + tall, 0
        placed.append(panel | {"id": number, "gridPos": {"x": x, "y": y} | size})
        x, tall = x + size["w"], max(tall, size["h"])
    return placed
