"""What is said below the first message of a thread."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from daemon.slack.blocks import ledger
from daemon.slack.text import escape, line, mention, moment
from daemon.slack.thread import Facts, Progress, Reply
from fleet.durations import format_duration


def reply(told: Reply, facts: Facts, *, call: Sequence[str], link: str) -> str:
    """The text of a reply in the thread."""
    called = "".join(f" {mention(who)}" for who in call) if told.call else ""
    said = escape(told.text, 1500)
    match told.about:
        case "plan":
            run = facts.runs.get(told.run or "")
            plan = run.plan if run else None
            steps = f"\nsteps: {line(', '.join(plan.steps), 400)}" if plan and plan.steps else ""
            effect = f"\n{escape(plan.effect, 400)}" if plan and plan.effect else ""
            text = f"*Plan*: {escape(plan.summary, 800) if plan else said}{steps}{effect}"
        case "asked":
            text = (
                f":raised_hand: *An approval is needed*{called}: {said}" if said else f"*An approval is needed*{called}"
            )
        case "outcome":
            run = facts.runs.get(told.run or "")
            result = run.result.value.replace("_", " ") if run and run.result else "ended"
            text = f"*{result.capitalize()}*: {said}{_figures(told)}\n{ledger(told.run or '', link)}"
        case "escalated":
            text = f":warning: *It needs a person*{called}: {said}"
        case "again":
            text = f":red_circle: *Firing again*{called}: {said}"
        case "resolved":
            text = f":white_check_mark: *Resolved* after {format_duration(timedelta(seconds=int(float(told.text))))}"
        case "silence" if told.text:
            text = f":no_bell: Silenced until {moment(float(told.text))} by {line(told.run or '', 80)}"
        case "silence":
            text = f":bell: The silence is over ({line(told.run or '', 80)})"
        case about:
            text = f"*{about.capitalize()}*: {said}"
    return text


def _figures(told: Reply) -> str:
    """Figures before and after, those that changed first."""
    names = sorted({*told.before, *told.after}, key=lambda name: (told.before.get(name) == told.after.get(name), name))
    lines = []
    for name in names[:8]:
        before, after = told.before.get(name), told.after.get(name)
        values = [figure(each) for each in (before, after) if each is not None]
        lines.append(f"\n• {line(name.replace('_', ' '), 60)}: {' → '.join(dict.fromkeys(values))}")
    return "".join(lines)


def progress(told: Progress) -> str:
    """The one reply about how far a run is."""
    return f":hourglass_flowing_sand: {line(told.text, 600)}"


def figure(value: float | str) -> str:
    if isinstance(value, str):
        return line(value, 80)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
