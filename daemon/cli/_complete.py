"""What the shell offers for names: quick, from the configuration or the running daemon, and silent where there is none.

Typer calls each with what is typed so far; it is Typer, too, that leaves out what does not begin so.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import typer
import yaml

from daemon.cli._console import config_path

VARIABLE = "_CUSTODE_COMPLETE"  # set by the shell's script when it asks
_SECONDS = 2.0  # a daemon that is slower is not waited for
_RUNS = 50
_IDS = {"pause": "running", "resume": "paused", "approve": "waiting", "reject": "waiting"}


def words(environment: Mapping[str, str], argv: list[str]) -> list[str]:
    """The words after the command's name: while the shell completes, those that are whole in its line."""
    if VARIABLE not in environment:
        return argv
    line = environment.get("_TYPER_COMPLETE_ARGS") or environment.get("COMP_WORDS", "")
    try:
        typed = shlex.split(line)
    except ValueError:  # a quotation that is still open
        return []
    # the last one may still grow into another command
    return typed[1:-1]


def environments(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Names in the configuration, read without judging it."""
    try:
        document = yaml.safe_load(config_path(_path(ctx)).read_text(encoding="utf-8"))
        names = [str(name) for name in document["environments"]]
    except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
        return
    yield from (name for name in names if name.startswith(incomplete))


def action_names(incomplete: str) -> Iterator[str]:
    """Plugins are found by the names of their files."""
    import actions

    names = (module.name for module in iter_modules(actions.__path__))
    yield from (name for name in names if not name.startswith("_") and name.startswith(incomplete))


def run_ids(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Runs of the daemon, newest first, each with what it does; those alone for which the command has a use."""
    query = {"limit": _RUNS, "state": _IDS.get(str(ctx.info_name))}
    for run in _asked(ctx, "actions", query):
        if str(run["id"]).startswith(incomplete):
            yield str(run["id"]), f"{run['action']} on {run['environment']}, {run['state']}"


def silence_ids(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    for one in _asked(ctx, "silences", {}):
        if str(one["id"]).startswith(incomplete):
            yield str(one["id"]), str(one.get("comment", ""))


def _path(ctx: typer.Context) -> Path | None:
    given = ctx.params.get("config")
    return None if given is None else Path(str(given))


def _asked(ctx: typer.Context, path: str, query: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    from daemon.cli._client import reach
    from fleet.errors import CustodeError

    async def ask() -> Any:
        async with asyncio.timeout(_SECONDS), reach(_path(ctx), ctx.params.get("url")) as client:
            return await client.get(path, query)

    try:
        return list(asyncio.run(ask()))
    except (CustodeError, typer.BadParameter, TimeoutError, OSError):
        return []
