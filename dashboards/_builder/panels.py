"""Panels of Grafana's classic schema.

Expressions are PromQL with Grafana's variables; `$SELF` stands for the matchers of Custode's own series, `$ENV` for
those of an environment's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Steps = Iterable[tuple[float, str]]  # from this value on, in this colour; below the first one it is `base`

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELF = 'job=~"$job",instance=~"$instance"'
ENV = f'{SELF},environment=~"$environment"'

LINES = 20

YES_NO = {0: ("no", "red"), 1: ("yes", "green")}
NO_YES = {0: ("no", "green"), 1: ("yes", "red")}
UP_DOWN = {0: ("down", "red"), 1: ("up", "green")}


def filled(expr: str) -> str:
    """The expression with its matchers, on one line."""
    return " ".join(expr.replace("$ENV", ENV).replace("$SELF", SELF).split())


def top(expr: str) -> str:
    """Only as many series as can be told apart, the largest: a fleet may have a thousand environments."""
    return f"topk({LINES}, {expr})"


def bottom(expr: str) -> str:
    """The same of the smallest."""
    return f"bottomk({LINES}, {expr})"


@dataclass(frozen=True, slots=True)
class Query:
    """What a series is called is `legend`, with labels as `{{label}}`."""

    expr: str
    legend: str = ""

    def target(self, place: int, *, instant: bool, table: bool = False) -> Json:
        return {
            "refId": chr(ord("A") + place),
            "datasource": DATASOURCE,
            "expr": filled(self.expr),
            "legendFormat": self.legend or "__auto",
            "instant": instant,
            "range": not instant,
            "format": "table" if table else "time_series",
        }


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures: of each row the one whose labels are the row's."""

    name: str
    expr: str
    unit: str = "short"
    steps: Steps = ()
    base: str = "green"
    words: Mapping[int, tuple[str, str]] | None = None


def _thresholds(steps: Steps, base: str) -> Json:
    lowest: Json = {"color": base, "value": None}
    return {"mode": "absolute", "steps": [lowest, *({"color": color, "value": value} for value, color in steps)]}


def _mappings(words: Mapping[int, tuple[str, str]] | None) -> list[Json]:
    if not words:
        return []
    shown = {str(value): {"text": text, "color": color, "index": value} for value, (text, color) in words.items()}
    return [{"type": "value", "options": shown}]


def _panel(kind: str, title: str, description: str, size: tuple[int, int], page: str) -> Json:
    """`page`: where in the status page more is to be seen, and done."""
    links = [{"title": "Status page", "url": f"${{custode_url}}{page}", "targetBlank": True}] if page else []
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "links": links,
    }


def row(title: str) -> Json:
    """A heading over the panels that follow."""
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": 24, "h": 1}}


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    legend: str = "",
    unit: str = "short",
    steps: Steps = (),
    base: str = "green",
    words: Mapping[int, tuple[str, str]] | None = None,
    name: bool = False,
    width: int = 4,
    page: str = "",
) -> Json:
    """The figure now; `name` shows the legend in its place."""
    return _panel("stat", title, description, (width, 4), page) | {
        "targets": [Query(expr, legend).target(0, instant=True)],
        "fieldConfig": {
            "defaults": {"unit": unit, "mappings": _mappings(words), "thresholds": _thresholds(steps, base)},
            "overrides": [],
        },
        "options": {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if name else "auto",
            "colorMode": "value",
            "graphMode": "none",
        },
    }


def series(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    steps: Steps = (),
    base: str = "transparent",
    most: float | None = None,
    stacked: bool = False,
    bars: bool = False,
    width: int = 12,
    page: str = "",
) -> Json:
    """Figures over time, from 0 to `most`; what lies past `steps` is coloured."""
    steps = list(steps)
    limits = {"min": 0} if most is None else {"min": 0, "max": most}
    return _panel("timeseries", title, description, (width, 8), page) | {
        "targets": [query.target(place, instant=False) for place, query in enumerate(queries)],
        "fieldConfig": {
            "defaults": limits
            | {
                "unit": unit,
                "thresholds": _thresholds(steps, base),
                "custom": {
                    "drawStyle": "bars" if bars else "line",
                    "lineWidth": 1,
                    "fillOpacity": 60 if bars else 10,
                    "showPoints": "never",
                    "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
                    "thresholdsStyle": {"mode": "area" if steps else "off"},
                },
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def ranking(
    title: str,
    description: str,
    expr: str,
    legend: str,
    *,
    unit: str = "short",
    steps: Steps = (),
    width: int = 12,
    page: str = "",
) -> Json:
    """Bars side by side, of the figures now."""
    return _panel("bargauge", title, description, (width, 8), page) | {
        "targets": [Query(expr, legend).target(0, instant=True)],
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "thresholds": _thresholds(steps, "green")},
            "overrides": [],
        },
        "options": {
            "displayMode": "basic",
            "orientation": "horizontal",
            "valueMode": "text",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    }


def table(
    title: str,
    description: str,
    labels: Mapping[str, str],
    *columns: Column,
    height: int = 8,
    width: int = 24,
    worst: str = "",
    page: str = "",
) -> Json:
    """One row for each set of `labels` (with their headings), sorted by the column `worst`, largest first."""
    shown = {label: place for place, label in enumerate(labels)}
    # a single query's column is called Value, one of several Value #A, Value #B, ...
    values = ["Value"] if len(columns) == 1 else [f"Value #{chr(ord('A') + place)}" for place in range(len(columns))]
    return _panel("table", title, description, (width, height), page) | {
        "targets": [Query(column.expr).target(place, instant=True, table=True) for place, column in enumerate(columns)],
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": shown | {value: len(labels) + place for place, value in enumerate(values)},
                    "renameByName": dict(labels)
                    | {value: column.name for value, column in zip(values, columns, strict=True)},
                },
            },
        ],
        "fieldConfig": {
            "defaults": {"unit": "string", "custom": {"filterable": True}, "thresholds": _thresholds((), "text")},
            "overrides": [*(_linked(labels["environment"]) if "environment" in labels else ())]
            + [_override(column) for column in columns],
        },
        "options": {"showHeader": True, "sortBy": [{"displayName": worst, "desc": True}] if worst else []},
    }


def _linked(heading: str) -> list[Json]:
    chosen = "var-environment=${__value.raw}&${datasource:queryparam}&${custode_url:queryparam}&${__url_time_range}"
    link = {"title": "Its dashboard", "url": f"/d/custode-environment?{chosen}"}
    page = {"title": "Status page", "url": "${custode_url}/environments/${__value.raw}", "targetBlank": True}
    return [{"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "links", "value": [link, page]}]}]


def _override(column: Column) -> Json:
    steps = list(column.steps)
    properties: list[Json] = [
        {"id": "unit", "value": column.unit},
        {"id": "thresholds", "value": _thresholds(steps, column.base if steps else "text")},
        {"id": "mappings", "value": _mappings(column.words)},
    ]
    if steps or column.words:
        properties.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    return {"matcher": {"id": "byName", "options": column.name}, "properties": properties}
