"""`custode ledger`: what was asked, allowed, refused and done."""

from __future__ import annotations

import asyncio
import json as jsonlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from pydantic import TypeAdapter
from rich.text import Text

from daemon import clock
from daemon.actions.views import LedgerView
from daemon.cli._client import Client, NoDaemonError, Patience, UrlOption, parsed, reach, run_command
from daemon.cli._complete import action_names, environments, run_ids
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._words import figures_line, indented, moment
from fleet.durations import parse_duration
from fleet.errors import StateAwayError

ENTRIES = TypeAdapter(list[LedgerView])
_POLL_SECONDS = 1.0
_PAGE = 100
_MOST = 1000


def ledger(
    *,
    run: Annotated[
        str | None, typer.Option(autocompletion=run_ids, help="Only of this run, or the unique beginning of its id.")
    ] = None,
    environment: Annotated[
        str | None, typer.Option(autocompletion=environments, help="Only of this environment.")
    ] = None,
    action: Annotated[str | None, typer.Option(autocompletion=action_names, help="Only of this action.")] = None,
    person: Annotated[str | None, typer.Option(help="Only what this person did.")] = None,
    entry: Annotated[str | None, typer.Option(help="Only this kind of entry, such as outcome.")] = None,
    since: Annotated[str | None, typer.Option(help="Only of so long ago, such as 2d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="The newest so many.")] = 100,
    json: JsonOption = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Print the ledger, newest last. With --json and --follow, an object a line."""
    filters = {"environment": environment, "action": action, "person": person, "entry": entry, "limit": limit}
    query = filters | {"since": _moment_of(since)}
    run_command(_ledger(query, run, config, url, json=json, follow=follow))


def _moment_of(since: str | None) -> float | None:
    if since is None:
        return None
    try:
        return max(0.0, clock.now() - parse_duration(since).total_seconds())
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None


async def _ledger(
    query: dict[str, Any], run: str | None, config: Path | None, url: str | None, *, json: bool, follow: bool
) -> int:
    async with reach(config, url) as client:
        if run is not None:
            found = await client.get(f"actions/{quote(run, safe='')}")
            query["run"] = found["run"]["id"]
        data = await client.get("ledger", query)
        if json and not follow:
            print_json(data)
            return 0
        _print(data, json=json)
        if follow:
            await _follow(client, query, data, json=json)
    return 0


async def _follow(client: Client, query: Mapping[str, Any], shown: list[dict[str, Any]], *, json: bool) -> None:
    """Print what comes, until cancelled."""
    seen, patience = {entry["id"] for entry in shown}, Patience()
    oldest = min(seen, default=0)
    while True:
        await asyncio.sleep(_POLL_SECONDS)
        try:
            news = await _news(client, query, seen, oldest)
        except (NoDaemonError, StateAwayError) as error:
            patience.bear(error)
        else:
            patience.answered()
            _print(news, json=json)
            seen |= {entry["id"] for entry in news}


async def _news(client: Client, query: Mapping[str, Any], seen: set[int], oldest: int) -> list[dict[str, Any]]:
    """Unseen entries above `oldest`, newest first.

    The last page is read whole: an entry may come after one with a greater id, as several daemons write.
    """
    news: list[dict[str, Any]] = []
    before = None
    while True:
        page = await client.get("ledger", {**query, "limit": _PAGE, "before": before})
        new = [entry for entry in page if entry["id"] > oldest and entry["id"] not in seen]
        news += new
        if len(page) < _PAGE or len(new) < len(page):
            return news
        before = page[-1]["id"]


def _print(data: list[dict[str, Any]], *, json: bool) -> None:
    """Entries as they came, the newest first, printed with the newest last."""
    if json:
        for one in reversed(data):
            sys.stdout.write(jsonlib.dumps(one, ensure_ascii=False) + "\n")
        sys.stdout.flush()
        return
    entries = parsed(ENTRIES, data)
    for entry in reversed(entries):
        out.print(entry_line(entry), soft_wrap=True)


def entry_line(entry: LedgerView, *, of_run: bool = False) -> Text:
    """An entry on a line; what is the same all over a run is left out there."""
    line = Text.assemble((f"{moment(entry.at)}  ", "dim"), (f"{entry.entry:<10} ", "bold"))
    if not of_run:
        line.append(f"{entry.run_id or '':<12} {entry.environment or '':<12} {entry.action or '':<12} ", style="cyan")
    if entry.person:
        line.append(f"{entry.person}  ", style="magenta")
    return line.append(indented(_said(entry.facts), 4))


def _said(facts: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={_value(value)}" for name, value in facts.items() if value not in (None, "", {}, []))


def _value(value: Any) -> str:
    if isinstance(value, dict) and all(isinstance(one, str | float | int) for one in value.values()):
        return f"({figures_line(value)})"
    return value if isinstance(value, str) else jsonlib.dumps(value, ensure_ascii=False)


def register(app: typer.Typer) -> None:
    app.command("ledger")(ledger)
