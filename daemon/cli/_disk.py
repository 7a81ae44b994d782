"""`custode disk`: how full the disks are, when they will be full, and what would free how much."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, TypeAdapter
from rich.table import Table
from rich.text import Text

from daemon.cli._act import run_action
from daemon.cli._client import Client, UrlOption, parsed, reach, run_command
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._words import figure

_SERIES = {
    "size_bytes": "custode_disk_size_bytes",
    "available_bytes": "custode_disk_available_bytes",
    "full_seconds": "custode_disk_full_seconds",
}
_PROMISED = "custode_policy_disk_free_ratio"
_DISK = ("environment", "mountpoint", "source")


class _Sample(BaseModel):
    metric: dict[str, str]
    value: tuple[float, float]


class _Vector(BaseModel):
    result: list[_Sample]


_VECTOR = TypeAdapter(_Vector)


def disk(
    environment: Annotated[
        str | None, typer.Argument(autocompletion=environments, help="Where to make room [default: show all disks].")
    ] = None,
    *,
    relieve: Annotated[bool, typer.Option("--relieve", help="Drop what nobody needs; else it is only told.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger and for who approves.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Show how full the disks are, or what would free room on one, the least risky first.

    Exit status 1: less is free than promised, or the action did not help.
    """
    if environment is None:
        if relieve:
            raise typer.BadParameter("needs an environment", param_hint="--relieve")
        run_command(_show(config, url, json=json))
    run_action(
        "relieve_disk",
        environment,
        {},
        dry_run=not relieve,
        reason=reason,
        detach=detach,
        json=json,
        config=config,
        url=url,
    )


async def _show(config: Path | None, url: str | None, *, json: bool) -> int:
    async with reach(config, url) as client:
        disks: dict[tuple[str, ...], dict[str, Any]] = {}
        for name, series in _SERIES.items():
            for sample in await _read(client, series):
                key = tuple(sample.metric.get(label, "") for label in _DISK)
                disks.setdefault(key, dict(zip(_DISK, key, strict=True)))[name] = sample.value[1]
        promised = {one.metric.get("environment", ""): one.value[1] for one in await _read(client, _PROMISED)}
    found = [disks[key] | {"promised_ratio": promised.get(key[0], 0.0)} for key in sorted(disks)]
    if json:
        print_json(found)
    else:
        out.print(_listing(found) if found else Text("no disk source tells anything; custode list disks"))
    return int(not found or any(_ratio(one) < one["promised_ratio"] for one in found))


async def _read(client: Client, series: str) -> list[_Sample]:
    return parsed(_VECTOR, await client.get("query", {"query": series})).result


def _ratio(one: Mapping[str, Any]) -> float:
    """What is free of it; of what is unknown, nothing."""
    return float(one.get("available_bytes", 0.0) / one["size_bytes"]) if one.get("size_bytes") else 0.0


def _listing(found: list[dict[str, Any]]) -> Table:
    table = Table(*_DISK, box=None)
    for name in ("size", "free", "of it", "full in"):
        table.add_column(name, justify="right")
    for one in found:
        style = "bold red" if _ratio(one) < one["promised_ratio"] else ""
        sizes = [figure(name, one[name]) if name in one else "?" for name in ("size_bytes", "available_bytes")]
        full = figure("full_seconds", one["full_seconds"]) if "full_seconds" in one else "-"
        cells = [*(one[label] for label in _DISK), *sizes, f"{_ratio(one):.1%}", full]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def register(app: typer.Typer) -> None:
    app.command("disk")(disk)
