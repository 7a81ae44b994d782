"""`custode demo`: four real environments with real trouble, and Custode guarding them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from daemon import clock
from daemon.app import Custode
from daemon.cli._console import err, out
from daemon.config import LogSettings, load
from daemon.logs import configure_logs
from daemon.parts import make_stores
from fleet.secrets import Secrets

if TYPE_CHECKING:
    from daemon.demo.fleet import DemoFleet


def demo(
    rows: Annotated[int, typer.Option(help="Knowledge chunks of production; the others have a share of it.")] = 2000,
    keep: Annotated[
        Path | None, typer.Option(help="Keep everything in this directory, and go on from what is there.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on at 127.0.0.1 [default: a free one].")] = None,
) -> None:
    """Start four PostgreSQL servers, plant trouble, and guard them until Ctrl-C."""
    # a demonstration ended by its terminal or by a supervisor must stop its servers too
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # the demonstration brings Alembic along: a third of a second that no other command shall pay
    from daemon.demo.fleet import temporary_directory

    directory = keep.absolute() if keep else temporary_directory()
    try:
        asyncio.run(_demo(directory, rows, port, kept=keep is not None))
    except KeyboardInterrupt:
        err.print("stopped before it was ready")
        raise typer.Exit(130) from None
    finally:
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)


async def _demo(directory: Path, rows: int, port: int | None, *, kept: bool) -> None:
    from daemon.demo.configuration import write_configuration
    from daemon.demo.history import make_history

    configure_logs(LogSettings(level="error"))
    fleet, token = await _start(directory, rows), secrets.token_urlsafe(32)
    try:
        settings = load(await write_configuration(fleet, port, token))
        with err.status("taking the backups that the fleet has behind it"):
            await make_history(settings, next(iter(make_stores(settings, Secrets(clock.monotonic)).values())))

        def announce(address: str) -> None:
            out.print(address, highlight=False)
            out.print(f"  act:     sign in at {address}/login with the token {token}", highlight=False, soft_wrap=True)
            out.print(f"  status:  custode status -c {settings.source}", highlight=False, soft_wrap=True)
            out.print(f"  metrics: curl -s {address}/metrics", highlight=False, soft_wrap=True)
            out.print("  Ctrl-C stops everything" + (f"; {directory} is kept" if kept else " and removes it"))

        await Custode(settings).run(announce)
    finally:
        await fleet.stop()


async def _start(directory: Path, rows: int) -> DemoFleet:
    from daemon.demo.fleet import DemoFleet

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(environment: str, done: int, total: int) -> None:
            if environment not in tasks:
                tasks[environment] = bars.add_task(environment, total=total)
            bars.update(tasks[environment], completed=done)

        return await DemoFleet.start(directory, rows, progress)


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)
