"""The first message of a thread, a pure function of what is known; built of the SDK's models, which check limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ConfirmObject,
    ContextBlock,
    MarkdownTextObject,
    Option,
    PlainTextObject,
    SectionBlock,
    StaticSelectElement,
)

from daemon.actions.request import Result, Source
from daemon.actions.views import RunState
from daemon.slack.news import RunFact
from daemon.slack.text import code, escape, line, mention, moment
from daemon.slack.thread import Facts, Stage

SILENCES: Mapping[str, float] = {"30m": 1800.0, "1h": 3600.0, "2h": 7200.0, "8h": 28800.0, "24h": 86400.0}
_SHOWN_ALERTS = 10
SIGNS: Mapping[Stage, tuple[str, str]] = {
    Stage.FIRING: (":red_circle:", "#d72b3f"),
    Stage.ASKING: (":raised_hand:", "#e8a33d"),
    Stage.ACTING: (":gear:", "#3d7de8"),
    Stage.VERIFYING: (":mag:", "#3d7de8"),
    Stage.FIXED: (":white_check_mark:", "#2eb67d"),
    Stage.NOT_FIXED: (":warning:", "#d72b3f"),
    Stage.SILENCED: (":no_bell:", "#9a9a9a"),
    Stage.RESOLVED: (":white_check_mark:", "#2eb67d"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A message: its text, which notifications show, and what stands below it."""

    text: str
    attachments: tuple[Mapping[str, Any], ...] = ()


def root(
    thread: str,
    facts: Facts,
    *,
    call: Sequence[str] = (),
    link: str = "",
    now: float,
    earlier: str | None = None,
) -> Shown:
    """The first message of a thread: what it is about, where it stands, what can be done."""
    sign, colour = SIGNS[facts.stage]
    place = f" — {line(facts.environment, 80)}" if facts.environment else ""
    called = "".join(f" {mention(who)}" for who in call)
    text = f"{sign} *{line(facts.title, 120)}*{place}: {facts.stage.value}{called}"
    blocks: list[Block] = [*_alerts(facts), *_run(facts), _context(facts, link, earlier)]
    if buttons := _buttons(thread, facts, now):
        blocks.insert(-1, ActionsBlock(block_id="custode", elements=buttons))
    return Shown(text, (attachment(colour, blocks, text),))


def attachment(colour: str, blocks: Iterable[Block], fallback: str) -> Mapping[str, Any]:
    return {"color": colour, "fallback": fallback, "blocks": [block.to_dict() for block in blocks]}


def section(text: str) -> SectionBlock:
    return SectionBlock(text=markdown(text))


def markdown(text: str) -> MarkdownTextObject:
    # verbatim: names that look like links or channels stay names
    return MarkdownTextObject(text=text, verbatim=True)


def _alerts(facts: Facts) -> Iterable[Block]:
    alerts = facts.firing or list(facts.alerts.values())
    if not alerts:
        return
    lines = [line(alert.summary or facts.title, 240) for alert in alerts[:_SHOWN_ALERTS]]
    beyond = len(alerts) - len(lines) + facts.more
    if beyond > 0:
        lines.append(f"and {beyond} more")
    if len(alerts) == 1 and alerts[0].description:
        lines.append(escape(alerts[0].description, 480))
    yield section("\n".join(lines))


def _run(facts: Facts) -> Iterable[Block]:
    run = facts.focus
    if run is None:
        return
    what = f"*{line(run.action, 60)}*" + (f" on {code(run.object, 120)}" if run.object else "")
    others = sum(each.state is not RunState.ENDED for each in facts.runs.values() if each.id != run.id)
    more = f" (and {others} more)" if others else ""
    yield section(f"{what}: {_standing(run)}{more}")


def _standing(run: RunFact) -> str:
    match run.state:
        case RunState.WAITING:
            given = f", approved by {line(', '.join(run.approved_by), 120)}" if run.approved_by else ""
            needed = "one approval" if run.needed == 1 else f"{run.needed} approvals"
            until = f", at the latest {moment(run.expires_at)}" if run.expires_at else ""
            plan = f"\n{escape(run.plan.summary, 300)}" if run.plan else ""
            return f"needs {needed}{given}{until}{plan}"
        case RunState.RUNNING:
            since = f" since {moment(run.begun_at)}" if run.begun_at else ""
            return f"at work{since}, {_who(run)}"
        case RunState.PAUSED:
            return line(run.parked or "paused", 200)
        case RunState.QUEUED:
            return f"waits: {line(run.parked, 200)}" if run.parked else f"about to begin, {_who(run)}"
        case RunState.ENDED:
            result = (run.result or Result.FAILED).value.replace("_", " ")
            return result + (f": {line(run.outcome, 300)}" if run.outcome else "")


def _who(run: RunFact) -> str:
    if run.approved_by:
        return f"approved by {line(', '.join(run.approved_by), 120)}"
    return f"asked for by {line(run.requested_by, 100)}" if run.source is Source.PERSON else "by itself"


def _context(facts: Facts, link: str, earlier: str | None) -> ContextBlock:
    parts = [f"{line(facts.severity, 20)} since {moment(facts.begun_at)}"]
    if facts.silenced_until is not None and facts.stage is Stage.SILENCED:
        parts.append(f"silenced until {moment(facts.silenced_until)} by {line(facts.silenced_by, 80)}")
    if facts.again:
        parts.append(f"came back {facts.again} time{'s' if facts.again > 1 else ''}")
    runbook = next((alert.runbook for alert in facts.alerts.values() if alert.runbook.startswith("https://")), None)
    if runbook and not set(runbook) & set("|<> \n"):
        parts.append(f"<{escape(runbook, 400)}|what to do>")
    if facts.focus is not None:
        parts.append(ledger(facts.focus.id, link))
    if earlier is not None and not set(earlier) & set("|<> \n"):
        parts.append(f"<{earlier}|the last time>")
    return ContextBlock(elements=[markdown(" · ".join(parts))])


def ledger(run: str, link: str) -> str:
    shown = line(run, 64)
    return f"<{link}/api/v1/ledger?run={shown}|ledger of run {shown}>" if link else f"run {code(run, 64)}"


def _buttons(thread: str, facts: Facts, now: float) -> list[Any]:
    value = f"{thread}:{facts.version}"
    run, stage = facts.focus, facts.stage
    elements: list[Any] = []
    if run is not None and stage is Stage.ASKING:
        told = f"{run.action} on {facts.environment}"
        elements.append(_button("approve", "Approve", value, "primary", _confirm("Approve?", told, "Approve")))
        elements.append(_button("reject", "Reject", value, "danger"))
    if facts.suggested is not None:
        action = facts.suggested.labels["action"]
        sure = _confirm("Run it?", f"{action} on {facts.environment}", "Run it")
        elements.append(_button("run", f"Run {action}"[:75], value, None, sure))
    if run is not None and run.state in {RunState.RUNNING, RunState.QUEUED, RunState.PAUSED}:
        sure = _confirm(
            "Cancel it?", f"{run.action} on {facts.environment} is ended; what it began is undone", "End it"
        )
        elements.append(_button("cancel", "Cancel", value, "danger", sure))
    if facts.firing:
        elements += _silencing(value, silenced=(facts.silenced_until or 0.0) > now)
    if elements or run is not None:
        elements.append(_button("details", "Details", value))
    return elements


def _silencing(value: str, *, silenced: bool) -> list[Any]:
    if silenced:
        return [_button("unsilence", "Unsilence", value)]
    options = [Option(text=f"Silence {name}", value=f"{value}:{name}") for name in SILENCES]
    menu = StaticSelectElement(action_id="custode.silence_for", placeholder="Silence for …", options=options)
    return [_button("silence", "Silence 2 h", value), menu]


def _button(
    name: str, text: str, value: str, style: str | None = None, confirm: ConfirmObject | None = None
) -> ButtonElement:
    return ButtonElement(action_id=f"custode.{name}", text=text, value=value, style=style, confirm=confirm)


def _confirm(title: str, text: str, yes: str) -> ConfirmObject:
    return ConfirmObject(title=title, text=PlainTextObject(text=text[:300]), confirm=yes, deny="No")
