"""`custode cleanup`: delete rows past their retention."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption


def cleanup(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    *,
    database: Annotated[str | None, typer.Option("--database", "-d", help="This one alone [default: all].")] = None,
    table: Annotated[
        str | None, typer.Option("--table", "-t", help="This one alone, as NAME or SCHEMA.NAME [default: all].")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Part of the time at work, from 0 to 1; the rest is left to others.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger and for who approves.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: count what would be deleted.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Delete rows past their time, as the policy's retention rules say, in small batches beside the traffic."""
    schema, _, name = (table or "").rpartition(".")
    parameters = {"datname": database, "schemaname": schema or None, "relname": name or None, "share": share}
    run_action(
        "cleanup",
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
    app.command("cleanup")(cleanup)
