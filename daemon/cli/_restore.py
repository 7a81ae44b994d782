"""`custode restore`: a backup into a new database, beside what is there."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption

BackupOption = Annotated[str | None, typer.Option("--backup", help="Its id [default: the newest good one].")]
AtOption = Annotated[
    str | None,
    typer.Option(help="The state of this moment: the nearest backup not later, as 2026-11-20T14:00:00+01:00."),
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", "-d", help="The database [default: the only one of the backup].")
]
StoreOption = Annotated[str | None, typer.Option(help="The store to read [default: the first that has it whole].")]
JobsOption = Annotated[int | None, typer.Option(min=1, help="Tables loaded, or indexes built, at once [default: 2].")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing: print what would be done.")]
DeferOption = Annotated[
    bool, typer.Option("--defer-vector-indexes", help="Exact queries are answered before they are built.")
]
RolesOption = Annotated[
    bool, typer.Option("--create-roles", help="Make the roles that the server lacks, without login.")
]
ReasonOption = Annotated[str, typer.Option(help="Why, for the ledger and for who approves.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")]


def restore(
    environment: Annotated[
        str, typer.Argument(autocompletion=environments, help="Whose backup, on whose server.", show_default=False)
    ],
    *,
    backup: BackupOption = None,
    at: AtOption = None,
    database: DatabaseOption = None,
    into: Annotated[str | None, typer.Option(help="The new database [default: named for the backup].")] = None,
    tables: Annotated[
        list[str] | None, typer.Option("--tables", "-t", help="Rows of this table alone; may be said again.")
    ] = None,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="No rows at all.")] = False,
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
    """Restore a backup into a new database, and compare it with the backup. Never over one that exists."""
    parameters = {
        "backup": backup,
        "at": at,
        "database": database,
        "into": into,
        "tables": tables or None,
        "schema_only": schema_only or None,
        "defer_vector_indexes": defer_vector_indexes or None,
        "create_roles": create_roles or None,
        "store": store,
        "jobs": jobs,
    }
    run_action(
        "restore",
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
    app.command("restore")(restore)
