"""How runs, plans and dry runs look on a terminal. Names from databases are shown as text, never as markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter
from rich.console import RenderableType
from rich.text import Text

from actions import Plan
from daemon.actions.request import Result
from daemon.actions.views import Answer, Preview, Run, RunDetail, RunState, StepView, Submitted
from daemon.cli._console import out
from daemon.cli._words import before_and_after, duration, figures_line, indented, moment

RUN = TypeAdapter(Run)
RUNS = TypeAdapter(list[Run])
DETAIL = TypeAdapter(RunDetail)
SUBMITTED = TypeAdapter(Submitted)
PREVIEW = TypeAdapter(Preview)

_SIGNS: Mapping[RunState | Result, tuple[str, str]] = {
    RunState.QUEUED: ("…", "yellow"),
    RunState.WAITING: ("?", "magenta"),
    RunState.RUNNING: ("▶", "cyan"),
    RunState.PAUSED: ("‖", "yellow"),
    Result.FIXED: ("✓", "green"),
    Result.NOT_FIXED: ("✗", "yellow"),
    Result.FAILED: ("✗", "bold red"),
    Result.REFUSED: ("✗", "magenta"),
    Result.CANCELLED: ("–", "dim"),
}
_DECISIONS = {"allowed": ("✓", "green"), "waits": ("…", "yellow"), "refused": ("✗", "bold red")}
_CONSENT = {
    "auto": "nobody has to approve it",
    "one_approval": "one person must approve it",
    "two_approvals": "two people must approve it",
    "forbidden": "the policy forbids it",
}


def headline(run: Run) -> Text:
    """`✓ fixed` and the reason, or where the run stands."""
    what = run.result if run.state is RunState.ENDED and run.result is not None else run.state
    sign, style = _SIGNS.get(what, ("", ""))
    text = Text(f"{sign} ", style=style).append(what.value.replace("_", " "), style=style)
    why = standing(run)
    return text.append(f": {indented(why, 2)}" if why else "", style="none")


def standing(run: Run) -> str:
    """Why it stands where it stands."""
    match run.state:
        case RunState.ENDED:
            why = run.outcome or ""
        case RunState.WAITING:
            why = needs(run) + (f", until {moment(run.expires_at)}" if run.expires_at is not None else "")
        case RunState.RUNNING:
            why = run.step or ""
        case _:
            later = f" (not before {moment(run.not_before)})" if run.not_before is not None else ""
            why = (run.parked or "") + later
    return why + (f", asked to {run.asked} by {run.asked_by}" if run.asked and run.state is not RunState.ENDED else "")


def needs(run: Run) -> str:
    return f"needs {run.approvals_needed} approval{'s' if run.approvals_needed != 1 else ''}"


def what_of(run: Run) -> str:
    return f"{run.action} on {run.environment}" + (f" ({run.object})" if run.object else "")


def say(*parts: RenderableType) -> None:
    """Print lines as they are, however narrow the terminal, and tables so that they fit."""
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, Text))


def outcome(run: Run) -> list[RenderableType]:
    """How it ended, with the figures before and after."""
    line = headline(run)
    if run.begun_at is not None and run.ended_at is not None:
        line.append(f" ({duration(run.ended_at - run.begun_at)})", style="dim")
    if not run.before and not run.after:
        return [line]
    return [line, before_and_after(run.before or {}, run.after or {})]


def plan_lines(plan: Plan, digest: str | None) -> list[Text]:
    lines = [_field("plan", plan.summary)]
    lines += [_field("object", ", ".join(f"{name} {value}" for name, value in one.items())) for one in plan.objects]
    lines += [_field("step" if plan.steps else "steps", name) for name in plan.steps or ("nothing has to be done",)]
    lines += [_field("runs", command, "cyan") for command in plan.commands]
    if plan.effect:
        lines.append(_field("effect", plan.effect))
    if plan.figures:
        lines.append(_field("now", figures_line(plan.figures)))
    if plan.disk_bytes:
        lines.append(_field("takes", figures_line({"disk_bytes": plan.disk_bytes})))
    if digest:
        lines.append(_field("digest", digest, "dim"))
    return lines


def preview(seen: Preview) -> list[Text]:
    """A dry run: what would run, on what, at which risk, who must approve, and what the guard says."""
    sign, style = _DECISIONS.get(seen.decision, ("", ""))
    verdict = Text.assemble((f"{sign} {seen.decision}", style), f": {indented(seen.reason, 2)}")
    lines = [Text(f"{seen.action} on {seen.environment}, a dry run: nothing is changed", style="bold")]
    if seen.parameters:
        lines.append(_field("with", ", ".join(f"{name}={value}" for name, value in seen.parameters.items())))
    if seen.plan is not None:
        lines += plan_lines(seen.plan, seen.digest)
    lines.append(_field("risk", seen.risk))
    if seen.consent is not None:
        lines.append(_field("consent", _CONSENT.get(seen.consent, seen.consent)))
    return [*lines, Text("  guard    ").append_text(verdict)]


def run_lines(runs: Sequence[Run]) -> list[Text]:
    """Two lines a run, so that the reason has room: who wants what where, and where it stands."""
    lines = []
    for run in runs:
        line = Text.assemble((run.id, "bold"), f"  {what_of(run)}")
        lines += [line.append(f"  {moment(run.requested_at)}, {run.requested_by}", style="dim")]
        lines += [Text("  ").append_text(headline(run))]
    return lines or [Text("no runs", style="dim")]


def detail(shown: RunDetail) -> list[RenderableType]:
    """Everything about a run."""
    run = shown.run
    lines: list[RenderableType] = [Text(f"{run.id}  {what_of(run)}", style="bold"), *outcome(run)]
    lines.append(_field("asked", f"{moment(run.requested_at)} by {run.requested_by}"))
    if run.reason:
        lines.append(_field("because", run.reason))
    if run.parameters:
        lines.append(_field("with", ", ".join(f"{name}={value}" for name, value in run.parameters.items())))
    if run.attempt:
        lines.append(_field("attempt", f"{run.attempt}" + (f" by {run.owner}" if run.owner else "")))
    if run.plan is not None:
        lines += plan_lines(run.plan, run.digest)
    lines += [_field("answer", answer_line(answer)) for answer in shown.answers]
    lines += [step_line(step, len(run.plan.steps) if run.plan else 0) for step in shown.steps]
    return lines


def answer_line(answer: Answer) -> str:
    said = "approved" if answer.approved else "rejected"
    because = f": {answer.reason}" if answer.reason else ""
    return f"{said} by {answer.person} at {moment(answer.at)} over {answer.via}{because}"


def step_line(step: StepView, of: int) -> Text:
    number = f"{step.number}/{of} " if of else ""
    if step.finished_at is None:
        sign, style = ("✗", "red") if step.error else ("▶", "cyan")
    else:
        sign, style = "✓", "green"
    line = Text.assemble((f"  {sign} ", style), f"{number}{step.name}")
    if step.finished_at is not None:
        line.append(f"  {duration(step.finished_at - step.begun_at)}", style="dim")
    if step.figures:
        line.append(f"  {figures_line(step.figures)}")
    if step.error:
        line.append(
            f"  try {step.tries}: {indented(step.error, 6)}", style="red" if step.finished_at is None else "dim"
        )
    return line


def _field(name: str, value: str, style: str = "none") -> Text:
    return Text.assemble((f"  {name:<8} ", "dim"), (indented(value, 11), style))
