"""`custode backups`: what is stored, what is kept and why, and what may be done with it."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import TypeAdapter

from daemon import clock
from daemon.cli._act import run_action
from daemon.cli._backups_export import export
from daemon.cli._backups_view import calendar, decisions, listing, shown, simulation
from daemon.cli._client import UrlOption
from daemon.cli._complete import environments
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._stored import Stored, read_stored
from daemon.views.backups import Backups, backups_of
from fleet.backups.simulate import simulate as run_simulation

backups = typer.Typer(help="Look at what is backed up, and at what becomes of it.", no_args_is_help=True)

backups.command("export")(export)

_BACKUPS = TypeAdapter(Backups)

EnvironmentArgument = Annotated[
    str, typer.Argument(autocompletion=environments, help="Whose backups.", show_default=False)
]
BackupArgument = Annotated[
    str, typer.Argument(help="Its id, or how it begins; latest is the newest good one.", show_default=False)
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Change nothing: print what would be done.")]


@backups.command("list")
def list_(environment: EnvironmentArgument, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List what every store holds. Exit status 1 where a store cannot be read, or there is no good backup."""
    stored = read_stored(config, environment)
    if json:
        print_json(_BACKUPS.dump_python(backups_of(stored), mode="json"))
    else:
        out.print(listing(stored, clock.now()))
    unread = [copy for copy in stored.copies if copy.problem is not None]
    good = any(manifest.succeeded for copy in stored.copies for manifest in copy.manifests)
    raise typer.Exit(0 if good and not unread else 1)


@backups.command("show")
def show(
    environment: EnvironmentArgument, backup: BackupArgument, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Show one backup: what is in it, and what proves it."""
    stored = read_stored(config, environment)
    copy, manifest = stored.find(backup)
    if json:
        print_json(manifest.model_dump(mode="json") | {"store": copy.name})
    else:
        out.print(shown(stored, copy, manifest, clock.now()))


@backups.command("calendar")
def calendar_(
    environment: EnvironmentArgument,
    days: Annotated[int, typer.Option(min=1, max=800, help="How far to look back.")] = 91,
    config: ConfigOption = None,
) -> None:
    """Show the days on which backups were taken, and which of them are kept as what."""
    stored = read_stored(config, environment)
    for copy in stored.copies:
        out.print(calendar(copy, clock.now(), days))


@backups.command("prune")
def prune(
    environment: EnvironmentArgument,
    *,
    store: Annotated[str | None, typer.Option(help="This store alone [default: all of its copies].")] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Remove what the policy does not keep. With --dry-run say of every backup whether it stays, and why."""
    if not dry_run:
        run_action("prune_backups", environment, {"store": store}, json=json, config=config, url=url)
    stored = read_stored(config, environment)
    chosen = [copy for copy in stored.copies if store in {None, copy.name}]
    if not chosen:
        raise typer.BadParameter(f"{environment} has no backups in a store {store!r}")
    if json:
        print_json({copy.name: copy.decisions for copy in chosen})
    else:
        for copy in chosen:
            out.print(decisions(copy))


@backups.command("verify")
def verify(
    environment: EnvironmentArgument,
    backup: Annotated[str | None, typer.Argument(help="Its id [default: all good ones].")] = None,
    *,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read all, compare checksums and rows.")] = False,
    store: Annotated[str | None, typer.Option(help="In this store [default: every one that holds it].")] = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Look whether all that backups need is there and whole. It restores nothing: that is restore_test."""
    parameters = {"id": _id(config, environment, backup), "store": store, "read_data": read_data}
    run_action("verify_backups", environment, parameters, dry_run=dry_run, json=json, config=config, url=url)


@backups.command("pin")
def pin(
    environment: EnvironmentArgument,
    backup: BackupArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why it is kept.")] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take the pin away.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Keep a backup, whatever the policy says."""
    parameters = {"id": _id(config, environment, backup), "reason": reason, "unpin": remove}
    run_action("pin_backup", environment, parameters, json=json, config=config, url=url)


@backups.command("simulate")
def simulate(
    environment: EnvironmentArgument,
    *,
    days: Annotated[int, typer.Option(min=1, max=4000, help="How far to look ahead.")] = 400,
    change: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the data that is new by the next backup.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say what the policy will keep, day by day, and what that takes; sizes are those of the backups there are."""
    stored = read_stored(config, environment)
    interval = stored.environment.policy.backup.interval
    if interval is None:
        raise typer.BadParameter(f"{environment} is promised no backups: its policy has no backup.interval")
    first_bytes, measured = _costs(stored)
    result = run_simulation(
        stored.first.retention,
        interval,
        days,
        first_bytes=first_bytes,
        change_ratio=measured if change is None else change,
        start=clock.now() // 86400 * 86400,
    )
    if json:
        print_json({"days": result.days, "taken": result.taken, "peak_bytes": result.peak_bytes})
    else:
        out.print(simulation(stored, result, interval))


def _costs(stored: Stored) -> tuple[float, float]:
    """Bytes of the newest good backup, and the share of it that backups after the first one have added on average."""
    good = [manifest for manifest in stored.first.manifests if manifest.succeeded]
    if not good:
        return 0.0, 1.0
    later = [one.added_bytes / one.size_bytes for one in good if one.parent is not None and one.size_bytes]
    return float(good[-1].size_bytes), min(1.0, sum(later) / len(later)) if later else 1.0


def _id(config: ConfigOption, environment: str, backup: str | None) -> str | None:
    return None if backup is None else read_stored(config, environment).find(backup)[1].id


def register(app: typer.Typer) -> None:
    app.add_typer(backups, name="backups")
