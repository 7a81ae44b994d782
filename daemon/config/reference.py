"""The reference of the configuration, as Markdown made from the models and the plugins that are there."""

from __future__ import annotations

import ipaddress
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, time, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from collectors import Collector
from daemon.config._models import model_within
from daemon.config._plugins import Catalogue
from daemon.config._settings import Basics, Listen, StoreSettings
from fleet.durations import format_duration
from fleet.environment import Environment
from fleet.policy import TIER_DEFAULTS, Policy
from fleet.secrets import SecretText

_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Any: "anything",
    Path: "path",
    ipaddress.IPv4Network: "address",
    ipaddress.IPv6Network: "address",
    Listen: "host:port",
    time: "time of day",
    timedelta: "duration",
    datetime: "moment",
    SecretStr: "text",
    SecretText: "text with references",
    type(None): "null",
}
_HEAD = ("key", "type", "default", "meaning")
_DATA_DIR = "$CUSTODE_DATA_DIR, else /var/lib/custode if writable, else ~/.local/share/custode"


def render() -> str:
    """The whole reference. Raises PluginError."""
    catalogue = Catalogue.load()
    parts = [
        "### The daemon",
        _table(_HEAD, _rows(Basics)),
        "### `environments.NAME`",
        _table(_HEAD, _rows(Environment, leave_out=("name", "policy", "schema_reference"))),
        "### Policy: `tiers.TIER`, and `environments.NAME.policy`",
        _policies(),
    ]
    parts += ["### `collectors.NAME`", _table(("name", *_HEAD), _collectors(catalogue.collectors))]
    stores = [("each", *row) for row in _rows(StoreSettings, leave_out=("type", "options"))]
    parts += ["### `stores.ANY_NAME`, by `type`", _table(("name", *_HEAD), [*stores, *_plugins(catalogue.stores)])]
    for title, plugins in (
        ("`notifiers.NAME`", catalogue.notifiers),
        ("`environments.NAME.disks.NAME`", catalogue.disks),
    ):
        parts += [f"### {title}", _table(("name", *_HEAD), _plugins(plugins))]
    return "\n\n".join(parts) + "\n"


def _collectors(plugins: Mapping[str, type[Collector]]) -> Iterator[tuple[str, ...]]:
    """What all have in common, then what differs."""
    common = list(_rows(Collector.Options))
    for row in common:
        yield ("each", *row)
    for name, plugin in plugins.items():
        for row in _rows(plugin.Options):
            if row not in common:
                meaning = next((known[-1] for known in common if known[0] == row[0]), row[-1])
                yield (f"`{name}`", *row[:-1], meaning)


def _plugins(plugins: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, plugin in plugins.items():
        for row in list(_rows(plugin.Options)) or [("", "", "", "no options")]:
            yield (f"`{name}`", *row)


def _policies() -> str:
    """Policy keys with the default of each tier."""
    tiers = {tier.value: dict(_leaves(policy)) for tier, policy in TIER_DEFAULTS.items()}
    rows = []
    for key, field in _fields(Policy):
        name = key.removesuffix("[]")
        defaults = [_value(values[name]) if name in values and "[]." not in key else "" for values in tiers.values()]
        rows.append((f"`{key}`", _type(field.annotation), *defaults, field.description or ""))
    return _table(("key", "type", *tiers, "meaning"), rows)


def _leaves(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _rows(model: type[BaseModel], leave_out: Iterable[str] = ()) -> Iterator[tuple[str, ...]]:
    for key, field in _fields(model):
        if key.split(".")[0] not in leave_out:
            yield f"`{key}`", _type(field.annotation), _default(key, field), field.description or ""


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key of a model, those of the models inside it in its place.

    `[]` marks the entries of a list, `.NAME` those of a mapping.
    """
    for name, field in model.model_fields.items():
        inner = model_within(field.annotation)
        if inner is None:
            yield prefix + name, field
            continue
        origins = {get_origin(part) for part in (field.annotation, *get_args(field.annotation))}
        mark = "[]" if origins & {tuple, list} else ".NAME" if origins & {dict, Mapping} else ""
        if mark or not isinstance(field.get_default(call_default_factory=True), BaseModel):
            yield prefix + name, field
        yield from _fields(inner, f"{prefix}{name}{mark}.")


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        text = ", ".join(f"`{part}`" for part in parts)
    elif origin in {Union, types.UnionType}:
        text = " or ".join(dict.fromkeys(_type(part) for part in parts))
    elif origin in {tuple, list}:
        text = f"list of {_type(parts[0])}"
    elif origin is typing.Annotated:
        text = _type(parts[0])
    elif isinstance(annotation, type) and issubclass(annotation, Enum) and annotation not in _WORDS:
        text = ", ".join(f"`{member.value}`" for member in annotation)
    else:
        text = _WORDS.get(annotation, "mapping")
    return text


def _default(key: str, field: FieldInfo) -> str:
    if key == "data_dir":
        return _DATA_DIR
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    return "" if default is PydanticUndefined else _value(default)


def _value(value: object) -> str:
    match value:
        case None:
            text = "null"
        case bool():
            text = str(value).lower()
        case timedelta():
            text = format_duration(value)
        case time():
            text = f"{value:%H:%M}"
        case list() | tuple():
            text = ", ".join(map(_value, value)) or "none"
        case dict():
            text = ", ".join(value) or "none"
        case BaseModel():
            text = " ".join(_value(part) for _, part in _leaves(value))
        case Enum():
            text = str(value.value)
        case _:
            text = str(value)
    return text


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    head = tuple(head)
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
