"""`custode act`: ask for an action, and follow it to its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from daemon.cli._client import UrlOption, parsed, reach, run_command
from daemon.cli._complete import action_names, environments
from daemon.cli._console import ConfigOption, JsonOption, print_json
from daemon.cli._follow import carry_on
from daemon.cli._runs import PREVIEW, preview, say
from daemon.config._document import DocumentError, read_document


def act(
    name: Annotated[
        str,
        typer.Argument(
            autocompletion=action_names, help="The action; custode list actions shows them.", show_default=False
        ),
    ],
    environment: Annotated[str, typer.Argument(autocompletion=environments, help="Where.", show_default=False)],
    *,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="key=value, the value a YAML scalar or list.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: print what would be done.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the ledger and for who approves.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    key: Annotated[
        str | None, typer.Option(help="One key is one run, however often it is asked for [default: a new one].")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Ask the daemon for an action. Exit status 0: it helped, or nothing had to be done; 1: anything else."""
    run_action(
        name,
        environment,
        read_parameters(parameter or []),
        dry_run=dry_run,
        reason=reason,
        detach=detach,
        key=key,
        json=json,
        config=config,
        url=url,
    )


def run_action(
    name: str,
    environment: str,
    parameters: Mapping[str, Any],
    *,
    dry_run: bool = False,
    reason: str = "",
    detach: bool = False,
    key: str | None = None,
    json: bool = False,
    config: Path | None = None,
    url: str | None = None,
) -> NoReturn:
    """Ask the daemon for an action and follow it, then exit as `custode act` does. What is None is left to it."""
    body = {
        "action": name,
        "environment": environment,
        "parameters": {key: value for key, value in parameters.items() if value is not None},
        "reason": reason,
        "key": key,
        "dry_run": dry_run,
    }
    run_command(_act(body, config, url, detach=detach, json=json))


async def _act(body: dict[str, Any], config: Path | None, url: str | None, *, detach: bool, json: bool) -> int:
    async with reach(config, url) as client:
        data = await client.post("actions", body)
        if not body["dry_run"]:
            return await carry_on(client, data, detach=detach, json=json)
    seen = parsed(PREVIEW, data)
    if json:
        print_json(data)
    else:
        say(*preview(seen))
    return 1 if seen.decision == "refused" else 0


def read_parameters(given: list[str]) -> dict[str, Any]:
    """`key=value` pairs, the values read as YAML. Raises BadParameter."""
    found: dict[str, Any] = {}
    for pair in given:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{pair!r} is not of the form key=value")
        if name in found:
            raise typer.BadParameter(f"{name} is said twice")
        try:
            found[name] = read_document(text).value
        except DocumentError as error:
            raise typer.BadParameter(f"{name}: {error.message}; a text may stand in quotes") from None
        parts = found[name] if isinstance(found[name], list) else [found[name]]
        if any(isinstance(part, dict | list) for part in parts):
            raise typer.BadParameter(f"{name}: neither a scalar nor a list of them; a text may stand in quotes")
    return found


def register(app: typer.Typer) -> None:
    app.command("act")(act)
