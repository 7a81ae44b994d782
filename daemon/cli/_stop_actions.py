"""`custode stop-actions`: the switch that stops all of them, which works without a daemon too."""

from __future__ import annotations

import asyncio
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.text import Text

from daemon import clock
from daemon.actions.views import STOP_FILE, StopSwitch
from daemon.cli._client import Client, NoDaemonError, UrlOption, parsed, reach, run_command
from daemon.cli._console import ConfigOption, JsonOption, config_path, err, out, print_json
from daemon.cli._words import moment
from daemon.config import load
from fleet.errors import CustodeError, DaemonError, StateError

_SWITCH = TypeAdapter(StopSwitch)


def stop_actions(
    *,
    reason: Annotated[str, typer.Option(help="Why, for who wonders.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Let actions begin again.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only say whether they are stopped.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Stop all actions, on every daemon: none begins, and what runs stops after its step.

    Where no daemon can do it, a file in the data directory stops the daemon that starts there.
    """
    if release and status:
        raise typer.BadParameter("--release and --status exclude each other")
    body = None if status else {"stopped": not release, "reason": "" if release else reason}
    run_command(_switch(body, config, url, json=json))


async def _switch(body: dict[str, Any] | None, config: Path | None, url: str | None, *, json: bool) -> int:
    # the file is of this machine: who names a daemon by its address means that one alone
    file = None if url is not None else load(config_path(config)).data_dir / STOP_FILE
    try:
        async with reach(config, url) as client:
            data = await _ask(client, body, file)
    except (NoDaemonError, StateError) as error:
        if file is None:
            raise
        data = _by_file(body, file, error)
    if json:
        print_json(data)
    else:
        _print(parsed(_SWITCH, data))
    return 1 if body is not None and data["stopped"] != body["stopped"] else 0


async def _ask(client: Client, body: dict[str, Any] | None, file: Path | None) -> Any:
    if body is None:
        return await client.get("stop-actions")
    data = await client.post("stop-actions", body)
    if data["stopped"] and not body["stopped"] and file is not None:
        # released by somebody who may, and the file still says no: it goes too, where we can
        with suppress(OSError):
            await asyncio.to_thread(file.unlink)
        data = await client.get("stop-actions")
    return data


def _by_file(body: dict[str, Any] | None, file: Path, error: CustodeError) -> dict[str, Any]:
    err.print(
        Text(f"{error.message}: the file {file} decides for the daemon of this data directory", style="yellow"),
        soft_wrap=True,
    )
    try:
        if body is not None and body["stopped"]:
            _create(file, body["reason"])
        elif body is not None:
            file.unlink(missing_ok=True)
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else None
        at = file.stat().st_mtime if text is not None else None
    except OSError as problem:
        raise DaemonError(
            f"{error.message}, and the file {file} cannot be used: {problem.strerror}", hint=error.hint
        ) from problem
    return {
        "stopped": text is not None,
        "reason": (text or "").strip(),
        "by": "the file" if text is not None else "",
        "at": at,
    }


def _create(file: Path, reason: str) -> None:
    """One that is there already stays as it is: who made it had a reason."""
    text = f"{moment(clock.now())} {_account()}: {reason or 'no reason given'}\n"
    with suppress(FileExistsError):
        # read by the daemon's account, whoever makes it
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user id {os.geteuid()}"


def _print(switch: StopSwitch) -> None:
    if not switch.stopped:
        out.print(Text("✓ actions are not stopped", style="green"))
        return
    line = Text("■ all actions are stopped", style="bold red")
    line.append(f" by {switch.by}" if switch.by else "", style="none")
    line.append(f" since {moment(switch.at)}" if switch.at is not None else "", style="none")
    line.append(f": {switch.reason}" if switch.reason else "", style="none")
    out.print(line, soft_wrap=True)


def register(app: typer.Typer) -> None:
    app.command("stop-actions")(stop_actions)
