"""`custode data refresh`: production's data, masked, in the place of an environment's own."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption
from daemon.cli._restore import DetachOption, DryRunOption, JobsOption, ReasonOption

SourceOption = Annotated[
    str | None,
    typer.Option(autocompletion=environments, help="The environment it comes from [default: the only production one]."),
]
TargetDatabaseOption = Annotated[
    str | None, typer.Option("--database", "-d", help="The database that is replaced [default: the only one].")
]
SourceDatabaseOption = Annotated[str | None, typer.Option(help="The database there [default: the only one].")]
KeepOldOption = Annotated[bool, typer.Option("--keep-old", help="Keep the old database beside, closed.")]


def refresh(
    environment: Annotated[
        str, typer.Argument(autocompletion=environments, help="Whose data is replaced.", show_default=False)
    ],
    *,
    source: SourceOption = None,
    database: TargetDatabaseOption = None,
    source_database: SourceDatabaseOption = None,
    from_backup: Annotated[
        bool, typer.Option("--from-backup", help="Take the rows from the newest backup: no work for the source.")
    ] = False,
    backup: Annotated[str | None, typer.Option("--backup", help="Take the rows from this backup.")] = None,
    store: Annotated[str | None, typer.Option(help="The store of the backup [default: the first that has it].")] = None,
    keep_old: KeepOldOption = False,
    jobs: JobsOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    detach: DetachOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Copy production's data, masked by the policy; scan the copy for personal data, then swap it in."""
    parameters = {
        "source": source,
        "datname": database,
        "source_datname": source_database,
        "rows_from": "backup" if from_backup or backup else None,
        "backup": backup,
        "store": store,
        "keep_old": keep_old or None,
        "jobs": jobs,
    }
    run_action(
        "refresh",
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
    app.command("refresh")(refresh)
