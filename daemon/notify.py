"""Messages out of alerts and actions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from daemon.actions.events import ActionEvent, Happened
from daemon.actions.request import Result
from daemon.alertmanager import fingerprint
from daemon.notifiers import Message, Severity
from daemon.silences import Muting
from daemon.slack.news import AlertChange, alert_news, run_news, silence_news, thread_of, write_news
from rules import AlertView, State, Transition

_TOLD_SECONDS = 86_400.0  # less than the outbox remembers what was told


def told_before(alerts: Iterable[AlertView], now: float) -> Iterator[Transition]:
    """How these alerts came to be as they are, where that was within a day (`now` in unix seconds)."""
    for alert in alerts:
        resolved = alert.state is State.RESOLVED
        at = alert.resolved_at if resolved else alert.fired_at
        if at is not None and now - at < _TOLD_SECONDS:
            before = State.FIRING if resolved else State.PENDING
            yield Transition(alert.labels, alert.annotations, alert.value, before, alert.state, at)


def alert_message(change: AlertChange) -> Message | None:
    """A message about an alert that began to fire or was resolved; other changes are no news.

    Nor is an alert of severity "none", which is for machines, such as the one that always fires.
    """
    news = alert_news(change)
    if news is None:
        return None
    labels, firing = change.labels, news.firing
    fields = {name: labels[name] for name in sorted(labels) if name not in _SAID_ELSEWHERE}
    summary = change.annotations.get("summary", "")
    return Message(
        id=news.id,
        kind="alert",
        severity=_severity(labels) if firing else Severity.GOOD,
        title=f"{labels.get('alertname', 'alert')} {change.after}" + (f": {summary}" if summary else ""),
        at=change.at,
        environment=labels.get("environment"),
        text=change.annotations.get("description", "") if firing else "",
        fields=fields | {"value": f"{change.value:g}"} if firing else fields,
        thread=thread_of(news),
        facts=write_news(news),
    )


_SAID_ELSEWHERE = frozenset({"alertname", "environment", "tier", "severity", "action", "promise", "__name__"})


def _severity(labels: Mapping[str, str]) -> Severity:
    try:
        return Severity(labels.get("severity", ""))
    except ValueError:
        return Severity.WARNING


def muting_message(alert: AlertView, before: Muting | None, after: Muting | None, at: float) -> Message | None:
    """A message about an alert that was silenced, or is silenced no longer; an inhibition is no news."""
    silence = after or before
    if silence is None or silence.silence is None:
        return None
    until = None if after is None else after.until
    news = silence_news(dict(alert.labels), until=until, by=silence.by, at=at, id=silence.silence)
    words = f"silenced by {silence.by}" if after is not None else "is silenced no longer"
    return Message(
        id=f"{news.id}:{fingerprint(alert.labels)}",
        kind="alert",
        severity=Severity.INFO,
        title=f"{alert.name} {words}",
        at=at,
        environment=alert.labels.value("environment") or None,
        text=silence.comment,
        thread=thread_of(news),
        facts=write_news(news),
    )


def action_message(event: ActionEvent) -> Message:
    """A message about a step in the life of an action."""
    run, news = event.run, run_news(event)
    return Message(
        id=f"action:{event.id}",
        kind="action",
        severity=_severity_of(event),
        title=f"{run.action} {event.title}",
        at=event.at,
        environment=run.environment,
        text=_text(event),
        fields={name: _figure(value) for name, value in event.figures.items()},
        thread=thread_of(news),
        facts=write_news(news),
    )


_RESULTS: Mapping[Result | None, Severity] = {
    Result.FIXED: Severity.GOOD,
    Result.NOT_FIXED: Severity.WARNING,
    Result.FAILED: Severity.CRITICAL,
}


def _severity_of(event: ActionEvent) -> Severity:
    match event.kind:
        case Happened.ESCALATED:
            return Severity.CRITICAL
        case Happened.ASKED:
            return Severity.WARNING
        case _:
            return _RESULTS.get(event.result, Severity.INFO)


def _text(event: ActionEvent) -> str:
    match event.kind:
        case Happened.STEP:
            return ""
        case Happened.ASKED:
            return f"{event.text}\ncustode actions approve {event.run.id}, or reject"
        case _:
            return event.text


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
