"""`custode recover`: the way back into service from a damaged database."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption
from daemon.cli._restore import (
    AtOption,
    BackupOption,
    DatabaseOption,
    DeferOption,
    DetachOption,
    DryRunOption,
    JobsOption,
    ReasonOption,
    RolesOption,
    StoreOption,
)


def recover(
    environment: Annotated[
        str, typer.Argument(autocompletion=environments, help="What is damaged.", show_default=False)
    ],
    *,
    drill: Annotated[bool, typer.Option("--drill", help="Do all but the switch, and drop the copy again.")] = False,
    backup: BackupOption = None,
    at: AtOption = None,
    database: DatabaseOption = None,
    defer_vector_indexes: DeferOption = False,
    create_roles: RolesOption = False,
    store: StoreOption = None,
    jobs: JobsOption = None,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    detach: DetachOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Restore the newest good backup beside the damaged database, verify it, and switch by renaming.

    The damaged one is kept under another name.
    """
    parameters = {
        "drill": drill or None,
        "backup": backup,
        "at": at,
        "database": database,
        "defer_vector_indexes": defer_vector_indexes or None,
        "create_roles": create_roles or None,
        "store": store,
        "jobs": jobs,
    }
    run_action(
        "recover",
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
    app.command("recover")(recover)
