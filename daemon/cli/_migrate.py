"""`custode migrate`: the application's Alembic on an environment, behind the gate."""

from __future__ import annotations

from typing import Annotated

import typer

from daemon.cli._act import run_action
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption


def migrate(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    revision: Annotated[str, typer.Argument(help="Where to: head, heads, an id, a label@head, +1.")] = "head",
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Change nothing: print revisions, SQL, checks, locks and the way back.")
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A check that need not pass, by the name that the plan gives it; may be said again."),
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", "-d", help="The database [default: the one with a version table].")
    ] = None,
    store: Annotated[str | None, typer.Option(help="The store of the backup before it [default: the first].")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger and for who approves.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Upgrade a database: checked, rehearsed on a scratch server, backed up, then one revision after the other."""
    parameters = {"revision": revision, "accept": accept or None, "datname": database, "store": store}
    run_action(
        "migrate",
        environment,
        parameters,
        dry_run=plan,
        reason=reason,
        detach=detach,
        json=json,
        config=config,
        url=url,
    )


def register(app: typer.Typer) -> None:
    app.command("migrate")(migrate)
