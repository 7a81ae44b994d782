"""`custode data scan`: proof that an environment holds no personal data, by the daemon and on record."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption


def scan(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    *,
    database: Annotated[str | None, typer.Option("--database", "-d", help="This one alone [default: all].")] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="About so many rows of each table, by chance [default: all].")
    ] = None,
    people: Annotated[bool, typer.Option(help="Look for the users of production, too.")] = True,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look at nothing: print what would be read.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Look for personal data, by content. Tells places and counts. Exit status 1: there is some, or it is not known."""
    run_action(
        "scan_data",
        environment,
        {"datname": database, "rows": rows, "people": None if people else False},
        dry_run=dry_run,
        reason=reason,
        detach=detach,
        json=json,
        config=config,
        url=url,
    )


def register(group: typer.Typer) -> None:
    group.command("scan")(scan)
