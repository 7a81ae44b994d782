"""Following a run to its end: lines for what has happened, a bar for what is under way."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from daemon.actions.request import Result
from daemon.actions.views import Run, RunDetail, RunState
from daemon.cli._client import Client, NoDaemonError, Patience, parsed
from daemon.cli._console import err, out, print_json
from daemon.cli._runs import DETAIL, SUBMITTED, needs, outcome, say, standing, step_line, what_of
from daemon.cli._words import duration
from fleet.errors import CustodeError, StateAwayError

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 1.0


def status_of(run: Run) -> int:
    """The exit status: 0 fixed, or nothing had to be done."""
    return 0 if run.result is Result.FIXED else 1


async def carry_on(client: Client, data: Any, *, detach: bool, json: bool) -> int:
    """What follows a request that was taken: `data` is the Submitted as it came. Returns the exit status."""
    submitted = parsed(SUBMITTED, data)
    run = submitted.run
    if not json:
        say(Text(f"{run.id}  {what_of(run)}", style="bold"))
        if submitted.note:
            say(Text(submitted.note))
    if not detach:
        return await follow(client, run.id, json=json)
    if json:
        print_json(data)
    else:
        say(Text(f"it goes on by itself; follow it: custode actions follow {run.id}"))
    return status_of(run) if run.state is RunState.ENDED else 0


async def follow(client: Client, run_id: str, *, json: bool) -> int:
    """Show a run until it has ended; returns the exit status. Who interrupts is told that it goes on."""
    try:
        with _Watcher(quiet=json) as watcher:
            data, run = await _until_ended(client, run_id, watcher)
    except asyncio.CancelledError:
        told = (
            f"{run_id} goes on. Follow it: custode actions follow {run_id}; cancel it: custode actions cancel {run_id}"
        )
        err.print(Text(told), soft_wrap=True)
        raise
    if json:
        print_json(data)
    else:
        say(*outcome(run))
    return status_of(run)


async def _until_ended(client: Client, run_id: str, watcher: _Watcher) -> tuple[Any, Run]:
    wait, patience = _FIRST_WAIT, Patience()
    while True:
        try:
            data = await client.get(f"actions/{run_id}")
        except (NoDaemonError, StateAwayError) as error:
            patience.bear(error)
            watcher.missed(error)
        else:
            patience.answered()
            detail = parsed(DETAIL, data)
            watcher.show(detail)
            if detail.run.state is RunState.ENDED:
                return data, detail.run
        await asyncio.sleep(wait)
        wait = min(wait * 1.3, _LONGEST_WAIT)


class _Watcher:
    """Says each thing once: steps, waits, what people asked. The bar is drawn on a terminal only."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn(
                "{task.fields[doing]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            console=out,
            transient=True,
            expand=True,
            disable=quiet or not out.is_terminal,
        )
        self._bar = self._bars.add_task("", total=None, doing="", visible=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def missed(self, error: CustodeError) -> None:
        self._say(f"missed {error.message}", Text(f"{error.message}; trying again", style="yellow"))

    def show(self, detail: RunDetail) -> None:
        run = detail.run
        of = len(run.plan.steps) if run.plan is not None else 0
        for step in detail.steps:
            if step.finished_at is not None or step.error:
                key = f"step {step.number} {step.finished_at} {step.attempt} {step.tries} {step.error}"
                self._say(key, step_line(step, of))
        if run.state is not RunState.ENDED:
            self._say_standing(run, detail)
        self._draw(run, of)

    def _say_standing(self, run: Run, detail: RunDetail) -> None:
        given = sum(answer.approved and answer.digest == run.digest for answer in detail.answers)
        match run.state:
            case RunState.WAITING:
                so_far = f" ({given} given)" if given else ""
                self._say(
                    f"waiting {run.digest} {given}",
                    Text(f"{needs(run)}{so_far}: custode actions approve {run.id}", style="magenta"),
                )
            case RunState.QUEUED | RunState.PAUSED if why := standing(run):
                said = "paused" if run.state is RunState.PAUSED else "waits"
                self._say(f"{run.state} {why}", Text(f"{said}: {why}", style="yellow"))
            case RunState.RUNNING if run.asked:
                self._say(f"asked {run.asked}", Text(f"asked to {run.asked} by {run.asked_by}", style="yellow"))

    def _draw(self, run: Run, of: int) -> None:
        visible = run.state is RunState.RUNNING
        place = run.plan.steps.index(run.step) + 1 if run.plan and run.step in run.plan.steps else None
        description = (f"{place}/{of} " if place else "") + (run.step or "")
        doing, ratio = "", None
        if run.progress is not None:
            left = run.progress.left_seconds
            doing = run.progress.doing + (f", about {duration(left)} left" if left is not None else "")
            ratio = run.progress.ratio
        self._bars.update(
            self._bar,
            description=description,
            total=None if ratio is None else 1.0,
            completed=ratio or 0.0,
            doing=doing,
            visible=visible,
        )

    def _say(self, key: str, line: Text) -> None:
        if self._quiet or key in self._said:
            return
        self._said.add(key)
        self._bars.console.print(line, soft_wrap=True)
