"""`custode backup`: take a backup now."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption


def backup(
    environment: Annotated[
        str, typer.Argument(autocompletion=environments, help="What to back up.", show_default=False)
    ],
    *,
    database: Annotated[
        list[str] | None, typer.Option("--database", "-d", help="This database alone; may be said again.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store to fill [default: the first].")] = None,
    engine: Annotated[
        str | None, typer.Option(help="snapshot, custom or plain [default: what the policy says].")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: print what would be done.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Take a backup now, whatever the schedule says."""
    parameters = {"databases": database or None, "store": store, "engine": engine}
    run_action(
        "backup",
        environment,
        parameters,
        dry_run=dry_run,
        reason=reason,
        detach=detach,
        json=json,
        config=config,
        url=url,
    )


def register(app: typer.Typer) -> None:
    app.command("backup")(backup)
