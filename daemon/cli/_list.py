"""`custode list`: what there is, with its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

import actions
import collectors
import daemon.notifiers
import fleet.disks
import fleet.secrets
import fleet.stores
from actions import Action
from collectors import Collector
from daemon.cli._console import JsonOption, out, print_json
from daemon.notifiers import Notifier
from fleet.disks import DiskSource
from fleet.plugins import load_plugins
from fleet.secrets import SecretSource
from fleet.stores import Store
from rules import AlertRule, load_shipped

Entry = dict[str, Any]


class Kind(StrEnum):
    COLLECTORS = "collectors"
    RULES = "rules"
    ACTIONS = "actions"
    NOTIFIERS = "notifiers"
    STORES = "stores"
    DISKS = "disks"
    SECRETS = "secrets"


def options(model: type[BaseModel]) -> Mapping[str, Any]:
    """Option names of a plugin and their defaults, as the configuration writes them; `required` where there is none."""
    known: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        known[name] = "required" if field.is_required() else field.get_default(call_default_factory=True)
    return known | model.model_construct().model_dump(mode="json", include={k for k in known if known[k] != "required"})


def _collectors() -> Iterable[Entry]:
    for name, plugin in load_plugins(collectors, Collector).items():
        metrics = [metric.name for family in plugin.families for metric in family.metrics]
        yield {"name": name, "summary": plugin.summary, "options": options(plugin.Options), "metrics": metrics}


def _actions() -> Iterable[Entry]:
    for name, plugin in load_plugins(actions, Action).items():
        yield {
            "name": name,
            "summary": plugin.summary,
            "risk": plugin.risk.value,
            "options": options(plugin().parameters()),
        }


def _rules() -> Iterable[Entry]:
    for rule in (rule for group in load_shipped() for rule in group.rules if isinstance(rule, AlertRule)):
        said = {name: template.source for name, template in (*rule.labels, *rule.annotations)}
        known = {name: said.get(name, "") for name in ("summary", "severity", "promise", "action")}
        yield {"name": rule.name, **known, "expr": rule.query.text}


def _plain(package: Any, base: Any) -> Callable[[], Iterable[Entry]]:
    def entries() -> Iterable[Entry]:
        for name, plugin in load_plugins(package, base).items():
            known = options(plugin.Options) if hasattr(plugin, "Options") else {}
            yield {"name": name, "summary": plugin.summary, "options": known}

    return entries


_SOURCES: Mapping[Kind, Callable[[], Iterable[Entry]]] = {
    Kind.COLLECTORS: _collectors,
    Kind.RULES: _rules,
    Kind.ACTIONS: _actions,
    Kind.NOTIFIERS: _plain(daemon.notifiers, Notifier),
    Kind.STORES: _plain(fleet.stores, Store),
    Kind.DISKS: _plain(fleet.disks, DiskSource),
    Kind.SECRETS: _plain(fleet.secrets, SecretSource),
}


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.COLLECTORS, json: JsonOption = False
) -> None:
    """List collectors, rules, actions, notifiers, stores, disk and secret sources, with their options."""
    entries = list(_SOURCES[kind]())
    if json:
        print_json(entries)
        return
    columns = [column for column in entries[0] if column not in ("metrics", "expr")] if entries else []
    table = Table(*columns, title=f"{len(entries)} {kind.value}")
    for entry in entries:
        table.add_row(*(Text(_shown(entry[column])) for column in columns))
    out.print(table)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {default}" for name, default in value.items())
    return str(value)


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
