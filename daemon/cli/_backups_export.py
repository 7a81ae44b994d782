"""`custode backups export`: a snapshot as a file that PostgreSQL's own programs read, made without a daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from actions import Job
from actions._export import export_snapshot, suffix_of
from actions._restore_source import SourceParameters, choose
from daemon import clock
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, err, out
from daemon.cli._stored import Stored, read_stored
from daemon.cli._words import figure
from fleet.connections import Connections
from fleet.errors import ActionError
from fleet.secrets import Secrets


def export(
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Whose backup.", show_default=False)],
    backup: Annotated[
        str, typer.Argument(help="Its id, or how it begins; latest is the newest good one.", show_default=False)
    ],
    *,
    to: Annotated[Path, typer.Option(help="The file to make: .sql, .sql.gz or .dump.", show_default=False)],
    database: Annotated[
        str | None, typer.Option("--database", "-d", help="The database [default: the only one of the backup].")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make pg_dump's own file of a snapshot: SQL, SQL in gzip, or its custom format.

    A scratch server on this machine restores the snapshot and is gone afterwards.
    """
    target = to.expanduser().absolute()
    suffix_of(target)
    stored = read_stored(config, environment)
    copy, manifest = stored.find(backup)
    if not manifest.snapshots:
        raise ActionError(f"{manifest.id} is a file of pg_dump already: {copy.name} holds it")
    size = asyncio.run(_export(stored, SourceParameters(backup=manifest.id, database=database), target))
    out.print(f"{target}: {figure('bytes', float(size))}")


async def _export(stored: Stored, parameters: SourceParameters, target: Path) -> int:
    secrets = Secrets(clock.monotonic)
    environment = stored.environment
    nobody = Connections(environment, secrets)  # the environment itself is never reached
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("restoring on a scratch server", total=1.0)
        job = Job(
            run_id=uuid4().hex[:12],
            attempt=1,
            started_at=clock.now(),
            environment=environment,
            connections=nobody,
            changes=nobody,
            secrets=secrets,
            stores={copy.name: copy.store for copy in stored.copies},
            now=clock.now,
            progress=lambda ratio, text: progress.update(task, completed=ratio, description=text),
            client_tools=stored.settings.client_tools,
        )
        return await export_snapshot(job, await choose(job, parameters), target)
