"""`custode silence`: keep alerts from paging and being told for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.table import Table
from rich.text import Text

from daemon import clock
from daemon.cli._client import UrlOption, parsed, reach, run_command
from daemon.cli._complete import silence_ids
from daemon.cli._console import ConfigOption, JsonOption, out, print_json
from daemon.cli._words import moment
from daemon.silences import Matcher, SilenceView
from fleet.durations import parse_duration

_ONE, _ALL = TypeAdapter(SilenceView), TypeAdapter(list[SilenceView])
_app = typer.Typer(help="Silence alerts, here and in Alertmanager.", no_args_is_help=True)

IdArgument = Annotated[
    str, typer.Argument(autocompletion=silence_ids, help="The id of the silence, as the list shows it.")
]
ForOption = Annotated[str, typer.Option("--for", help="How long from now, such as 2h or 1d.")]


@_app.command()
def add(
    label: Annotated[list[str], typer.Argument(help="name=value; an alert must have all of these labels.")],
    *,
    duration: ForOption = "2h",
    comment: Annotated[str, typer.Option(help="Why, for who wonders.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Silence alerts with these labels: `custode silence add alertname=IndexBloated environment=qa`."""
    labels = {}
    for pair in label:
        name, separator, value = pair.partition("=")
        if not (separator and name and value):
            raise typer.BadParameter(f"{pair!r} is not of the form name=value")
        labels[name] = value
    body = {"labels": labels, "seconds": _seconds(duration), "comment": comment}
    run_command(_change("silences", body, config, url, json=json))


@_app.command()
def extend(
    silence: IdArgument,
    *,
    duration: ForOption = "2h",
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Let a silence last so long from now."""
    body = {"seconds": _seconds(duration)}
    run_command(_change(f"silences/{silence}/extend", body, config, url, json=json))


@_app.command()
def expire(
    silence: IdArgument, *, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None
) -> None:
    """End a silence now."""
    run_command(_change(f"silences/{silence}/expire", {}, config, url, json=json))


@_app.command("list")
def list_(*, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None) -> None:
    """Show the silences that last, and those that ended within a day."""
    run_command(_list(config, url, json=json))


async def _change(path: str, body: dict[str, Any], config: Path | None, url: str | None, *, json: bool) -> int:
    async with reach(config, url) as client:
        data = await client.post(path, body)
    if json:
        print_json(data)
    else:
        out.print(_line(parsed(_ONE, data)), soft_wrap=True)
    return 0


async def _list(config: Path | None, url: str | None, *, json: bool) -> int:
    async with reach(config, url) as client:
        data = await client.get("silences")
    if json:
        print_json(data)
        return 0
    table = Table("id", "alerts", "until", "by", "comment")
    for one in parsed(_ALL, data):
        style = "none" if one.active(clock.now()) else "dim"
        words = (one.id, _labels(one.matchers), _until(one), one.created_by, one.comment)
        table.add_row(*(Text(word, style=style) for word in words))
    out.print(table)
    return 0


def _line(silence: SilenceView) -> Text:
    return Text(f"{silence.id}: {_labels(silence.matchers)}, {_until(silence)}")


def _until(silence: SilenceView) -> str:
    if silence.expired_at is not None:
        return f"ended {moment(silence.expired_at)} by {silence.expired_by}"
    words = "silenced until" if silence.active(clock.now()) else "ended"
    return f"{words} {moment(silence.ends_at)}"


def _labels(matchers: tuple[Matcher, ...]) -> str:
    return " ".join(f"{one.name}={one.value}" for one in matchers)


def _seconds(text: str) -> float:
    try:
        return parse_duration(text).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--for: {error}") from None


def register(app: typer.Typer) -> None:
    app.add_typer(_app, name="silence")
