"""`custode actions`: what is under way, and what people say to it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from daemon.actions.views import Run, RunDetail, RunState
from daemon.cli._client import Client, UrlOption, parsed, reach, run_command
from daemon.cli._complete import action_names, environments, run_ids
from daemon.cli._console import ConfigOption, JsonOption, print_json
from daemon.cli._follow import carry_on, follow
from daemon.cli._ledger import ENTRIES, entry_line
from daemon.cli._runs import DETAIL, RUN, RUNS, detail, headline, plan_lines, run_lines, say, what_of

commands = typer.Typer(no_args_is_help=True, help="Look at actions, answer them, and take them in hand.")

IdArgument = Annotated[
    str, typer.Argument(autocompletion=run_ids, metavar="ID", help="The run, or the unique beginning of its id.")
]
Work = Callable[[Client], Awaitable[int]]
_RECENT = 20
_MOST = 1000
_ACTIVE = [state.value for state in RunState if state is not RunState.ENDED]


@commands.command("list")
def list_(
    *,
    environment: Annotated[
        str | None, typer.Option(autocompletion=environments, help="Only of this environment.")
    ] = None,
    action: Annotated[str | None, typer.Option(autocompletion=action_names, help="Only of this action.")] = None,
    state: Annotated[list[RunState] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="The newest so many.")] = _RECENT,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """List runs, newest first: the last ones, and older ones that have not ended; or those in a state."""

    async def work(client: Client) -> int:
        asked: dict[str, Any] = {"environment": environment, "action": action, "limit": limit}
        data = await client.get("actions", asked | {"state": [one.value for one in state or ()]})
        if not state:
            active = await client.get("actions", asked | {"state": _ACTIVE, "limit": _MOST})
            known = {run["id"] for run in data}
            data += [run for run in active if run["id"] not in known]
        if json:
            print_json(data)
        else:
            runs = parsed(RUNS, data)
            say(*run_lines(runs))
        return 0

    _run(work, config, url)


@commands.command("show")
def show(run_id: IdArgument, *, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None) -> None:
    """Show everything about a run: its plan, steps, answers, and what the ledger has of it."""

    async def work(client: Client) -> int:
        data, found = await _find(client, run_id)
        ledger = await client.get("ledger", {"run": found.run.id, "limit": _MOST})
        if json:
            print_json(data | {"ledger": ledger})
            return 0
        say(*detail(found))
        entries = parsed(ENTRIES, ledger)
        say(*(entry_line(entry, of_run=True) for entry in reversed(entries)))
        return 0

    _run(work, config, url)


@commands.command("approve")
def approve(
    run_id: IdArgument,
    *,
    digest: Annotated[str | None, typer.Option(help="The plan that is meant [default: the one shown].")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Show the plan of a run and approve it."""

    async def work(client: Client) -> int:
        _, found = await _find(client, run_id)
        run = found.run
        if not json:
            _print_question(found)
        if run.state is RunState.WAITING and not yes and not json and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm("Approve this plan?", abort=True)
        body = {"reason": reason, "digest": digest or run.digest}
        data = await client.post(f"actions/{run.id}/approve", body)
        if json:
            print_json(data)
        else:
            await _print_approved(client, parsed(RUN, data))
        return 0

    _run(work, config, url)


@commands.command("reject")
def reject(
    run_id: IdArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why, for who asked.", show_default=False)],
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Reject the plan of a run; it ends as refused."""
    _run(_saying("reject", run_id, {"reason": reason}, json=json), config, url)


@commands.command("cancel")
def cancel(
    run_id: IdArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Cancel a run; what it has left is taken back."""
    _run(_saying("cancel", run_id, {"reason": reason}, json=json), config, url)


@commands.command("pause")
def pause(run_id: IdArgument, *, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None) -> None:
    """Pause a run, after the step under way."""
    _run(_saying("pause", run_id, {}, json=json), config, url)


@commands.command("resume")
def resume(run_id: IdArgument, *, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None) -> None:
    """Let a paused run go on."""
    _run(_saying("resume", run_id, {}, json=json), config, url)


@commands.command("retry")
def retry(
    run_id: IdArgument,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
    json: JsonOption = False,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """Ask again for what an ended run was to do. Exit status 0: it helped, or nothing had to be done."""

    async def work(client: Client) -> int:
        _, found = await _find(client, run_id)
        data = await client.post(f"actions/{found.run.id}/retry", {})
        return await carry_on(client, data, detach=detach, json=json)

    _run(work, config, url)


@commands.command("follow")
def follow_(
    run_id: IdArgument, *, json: JsonOption = False, config: ConfigOption = None, url: UrlOption = None
) -> None:
    """Follow a run to its end. Exit status 0: it helped, or nothing had to be done."""

    async def work(client: Client) -> int:
        _, found = await _find(client, run_id)
        if not json:
            say(Text(f"{found.run.id}  {what_of(found.run)}", style="bold"))
        return await follow(client, found.run.id, json=json)

    _run(work, config, url)


def _run(work: Work, config: Path | None, url: str | None) -> None:
    async def with_client() -> int:
        async with reach(config, url) as client:
            return await work(client)

    run_command(with_client())


def _saying(verb: str, run_id: str, body: dict[str, Any], *, json: bool) -> Work:
    async def work(client: Client) -> int:
        _, found = await _find(client, run_id)
        # an answer is to the plan that stands now
        said = body | ({"digest": found.run.digest} if verb == "reject" else {})
        data = await client.post(f"actions/{found.run.id}/{verb}", said)
        if json:
            print_json(data)
        else:
            _print_standing(parsed(RUN, data))
        return 0

    return work


async def _find(client: Client, run_id: str) -> tuple[Any, RunDetail]:
    data = await client.get(f"actions/{quote(run_id, safe='')}")
    return data, parsed(DETAIL, data)


def _print_question(found: RunDetail) -> None:
    run = found.run
    say(Text(f"{run.id}  {what_of(run)}, asked by {run.requested_by}", style="bold"))
    if run.reason:
        say(Text(f"  because  {run.reason}"))
    if run.plan is not None:
        say(*plan_lines(run.plan, run.digest))


async def _print_approved(client: Client, run: Run) -> None:
    if run.state is RunState.WAITING:
        _, found = await _find(client, run.id)
        given = sum(answer.approved and answer.digest == run.digest for answer in found.answers)
        say(Text(f"approved: {given} of {run.approvals_needed} approvals so far"))
    else:
        _print_standing(run)


def _print_standing(run: Run) -> None:
    say(Text(f"{run.id}  ").append_text(headline(run)))


def register(app: typer.Typer) -> None:
    app.add_typer(commands, name="actions")
