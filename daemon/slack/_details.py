"""What only the person who asked sees: plan and evidence, and the form that asks why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slack_sdk.models.blocks import Block, InputBlock, PlainTextInputElement
from slack_sdk.models.views import View

from actions import Plan
from daemon.actions.views import RunDetail
from daemon.slack._replies import figure
from daemon.slack.blocks import section
from daemon.slack.text import code, escape, line, moment
from daemon.slack.thread import AlertFact, Facts


def details(facts: Facts, detail: RunDetail | None) -> list[dict[str, Any]]:
    """Plan and evidence, for one person: blocks."""
    alerts = facts.firing or list(facts.alerts.values())
    blocks: list[Block] = [section(_evidence(alert)) for alert in alerts[:5]]
    if detail is not None:
        blocks += _plan(detail)
    return [block.to_dict() for block in (blocks or [section("Nothing more is known.")])]


def _evidence(alert: AlertFact) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
    since = f"since {moment(alert.since)}"
    return f"*{line(alert.summary, 300)}*\n{escape(alert.description, 600)}\n{code(labels, 900)} {since}"


def _plan(detail: RunDetail) -> Iterable[Block]:
    run = detail.run
    yield section(f"*Run {code(run.id, 64)}*: {line(run.action, 60)}, {run.state.value}\n{escape(run.reason, 300)}")
    if run.plan is not None:
        yield section(_planned(run.plan))
    for answer in detail.answers[:10]:
        word = "approved" if answer.approved else "rejected"
        reason = f": {line(answer.reason, 200)}" if answer.reason else ""
        yield section(f"{word} by {line(answer.person, 80)} over {line(answer.via, 20)}, {moment(answer.at)}{reason}")


def _planned(plan: Plan) -> str:
    parts = [escape(plan.summary, 600)]
    parts += [
        f"• {line(name.replace('_', ' '), 60)}: {figure(value)}" for name, value in list(plan.figures.items())[:10]
    ]
    parts += [code(command, 240) for command in plan.commands[:5]]
    if len(plan.commands) > 5:
        parts.append(f"and {len(plan.commands) - 5} statements more")
    return "\n".join(parts)


def reject_modal(value: str, what: str) -> dict[str, Any]:
    """Asks why somebody rejects."""
    field = PlainTextInputElement(action_id="reason", multiline=True, max_length=500)
    asked = InputBlock(block_id="reason", label="Why?", element=field, optional=True)
    return View(
        type="modal",
        callback_id="custode.rejected",
        private_metadata=value,
        title="Reject",
        submit="Reject",
        close="Not now",
        blocks=[section(line(what, 300)), asked],
    ).to_dict()
