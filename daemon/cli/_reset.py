"""`custode reset`: an environment's database anew."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption
from daemon.cli._refresh import KeepOldOption, SourceDatabaseOption, SourceOption, TargetDatabaseOption
from daemon.cli._restore import DetachOption, DryRunOption, ReasonOption


def reset(
    environment: Annotated[
        str, typer.Argument(autocompletion=environments, help="What begins anew; never production.", show_default=False)
    ],
    *,
    with_refresh: Annotated[
        bool, typer.Option("--refresh", help="Fill it with masked data of production, not with test data alone.")
    ] = False,
    source: SourceOption = None,
    database: TargetDatabaseOption = None,
    source_database: SourceDatabaseOption = None,
    keep_old: KeepOldOption = False,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    detach: DetachOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Make the database anew: empty, migrated to head, with the policy's test data. What it holds is lost."""
    parameters = {
        "data": "refresh" if with_refresh else None,
        "source": source,
        "datname": database,
        "source_datname": source_database,
        "keep_old": keep_old or None,
    }
    run_action(
        "reset",
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
    app.command("reset")(reset)
