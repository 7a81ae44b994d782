"""Tables of what the plugins and rule files hold."""

from __future__ import annotations

import actions
import collectors
from actions import Action
from collectors import Collector
from daemon.reference._table import table
from daemon.telemetry import Telemetry
from fleet.data.strategies import STRATEGIES
from fleet.durations import format_duration
from fleet.plugins import load_plugins
from rules import AlertRule, load_shipped


def metrics_reference() -> str:
    """One table a collector. The labels environment and tier, and the environment's own, are on every series."""
    parts = []
    for name, plugin in load_plugins(collectors, Collector).items():
        options = plugin.Options()
        rows = [
            (f"`{metric.name}`", metric.kind, ", ".join(family.labels), metric.help)
            for family in plugin.families
            for metric in family.metrics
        ]
        every = format_duration(options.interval)
        parts.append(
            f"#### {name}\n\nEvery {every}: {plugin.summary}.\n\n{table(('metric', 'type', 'labels', 'help'), rows)}"
        )
    return "\n\n".join([*parts, _own_metrics()])


_SUFFIXES = {"counter": "_total", "info": "_info"}


def _own_metrics() -> str:
    rows = [
        (f"`{family.name}{_SUFFIXES.get(family.type, '')}`", family.type, family.documentation)
        for family in Telemetry().registry.collect()
        if family.name.startswith("custode_")
    ]
    return (
        "#### Custode itself\n\nWithout environment and tier. Those of rule groups have the label `rule_group`, file "
        f"and name, and are called as Prometheus calls its own.\n\n{table(('metric', 'type', 'help'), rows)}"
    )


def rules_reference() -> str:
    """One table of all shipped alerts."""
    rows = []
    for group in load_shipped():
        for rule in group.rules:
            if isinstance(rule, AlertRule):
                labels = {name: template.source for name, template in rule.labels}
                summary = next((template.source for name, template in rule.annotations if name == "summary"), "")
                action = f"`{labels['action']}`" if "action" in labels else ""
                rows.append((rule.name, labels.get("severity", ""), action, f"`{summary}`", f"`{rule.query.text}`"))
    return table(("alert", "severity", "action", "summary", "expression"), rows)


def actions_reference() -> str:
    """One table of all actions, with their parameters."""
    rows = []
    for name, plugin in load_plugins(actions, Action).items():
        fields = plugin().parameters().model_fields
        parameters = "; ".join(f"`{field.alias or key}`: {field.description}" for key, field in fields.items())
        rows.append((f"`{name}`", plugin.risk.value, plugin.summary, parameters))
    return table(("action", "risk", "what it does", "parameters"), rows)


def masks_reference() -> str:
    """A table of the masks."""
    rows = [
        (f"`{name}`", ", ".join(sorted(each.families)), "yes" if each.unique else "no", each.summary)
        for name, each in STRATEGIES.items()
    ]
    return table(("mask", "types", "keeps values distinct", "gives"), rows)
