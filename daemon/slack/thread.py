"""A thread: what is known of one occurrence of trouble, and what becomes of it with each piece of news. All pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import Field

from daemon.actions.events import Happened
from daemon.actions.request import Result
from daemon.actions.views import RunState
from daemon.slack.news import AlertNews, DigestNews, Fact, News, RunFact, RunNews, SilenceNews, identity

_KEPT_ALERTS = 100  # in full; of the others only how many there are
_KEPT_IDS = 300


class Stage(StrEnum):
    FIRING = "firing"
    ASKING = "awaiting approval"
    ACTING = "acting"
    VERIFYING = "verifying"
    FIXED = "fixed"
    NOT_FIXED = "not fixed"
    SILENCED = "silenced"
    RESOLVED = "resolved"


_AT_WORK = frozenset({RunState.WAITING, RunState.RUNNING})
_NO_HELP = frozenset({Result.NOT_FIXED, Result.FAILED})


def _working(run: RunFact) -> Stage:
    if run.state is RunState.WAITING:
        return Stage.ASKING
    planned = len(run.plan.steps) if run.plan else 0
    return Stage.VERIFYING if planned and run.steps_done >= planned else Stage.ACTING


class AlertFact(Fact):
    labels: dict[str, str]
    summary: str
    description: str = ""
    runbook: str = ""
    since: float
    firing: bool = True


class Reply(Fact):
    """A message in the thread that is not posted yet. `id` is the same for the same piece of news."""

    id: str
    about: str  # plan, asked, answered, outcome, escalated, refused, again, resolved, silence
    text: str
    run: str | None = None
    before: Mapping[str, float | str] = Field({})
    after: Mapping[str, float | str] = Field({})
    call: bool = False  # the owners are mentioned
    broadcast: bool = False
    posting: float | None = None  # since when somebody tries to post it


class Progress(Fact):
    """The one reply that tells how far a run is. `shown` is what it says by now."""

    run: str
    text: str
    ts: str | None = None
    shown: str = ""
    shown_at: float = 0.0


class Facts(Fact):
    """`version` is another one whenever what people can decide is; buttons carry it."""

    title: str
    environment: str = ""
    tier: str = ""
    severity: str = "warning"
    subjects: tuple[str, ...] = ()  # what owners are looked up by
    promise: str = ""
    begun_at: float
    changed_at: float
    ended_at: float | None = None
    alerts: Mapping[str, AlertFact] = Field({})
    more: int = 0  # alerts beyond those kept in full
    runs: Mapping[str, RunFact] = Field({})
    silenced_until: float | None = None
    silenced_by: str = ""
    version: int = 1
    replies: tuple[Reply, ...] = ()
    progress: Progress | None = None
    seen: tuple[str, ...] = ()
    again: int = 0  # how often it came back within this occurrence
    previous: str | None = None  # the thread of the last occurrence, by its id
    digest: DigestNews | None = None
    storm: bool = False

    @property
    def firing(self) -> list[AlertFact]:
        return [alert for alert in self.alerts.values() if alert.firing]

    @property
    def focus(self) -> RunFact | None:
        """The run that the buttons are about: one that waits for people, else one at work, else the latest."""
        runs = list(self.runs.values())
        for states in ({RunState.WAITING}, {RunState.RUNNING}, {RunState.PAUSED, RunState.QUEUED}):
            found = [run for run in runs if run.state in states]
            if found:
                return found[0]
        return runs[-1] if runs else None

    @property
    def stage(self) -> Stage:
        run = self.focus
        if run is not None and (run.state in _AT_WORK or (run.state is RunState.QUEUED and run.approved_by)):
            return _working(run)
        ended = run if run is not None and run.state is RunState.ENDED else None
        if ended is not None and self._helped(ended):
            return Stage.FIXED
        if not self.firing and (self.alerts or ended is not None):
            failed = not self.alerts and ended is not None and ended.result in _NO_HELP
            return Stage.NOT_FIXED if failed else Stage.RESOLVED
        if self.silenced_until is not None and self.silenced_until > self.changed_at:
            return Stage.SILENCED
        if ended is not None and (ended.escalated or ended.result in _NO_HELP):
            return Stage.NOT_FIXED
        return Stage.FIRING

    def _helped(self, run: RunFact) -> bool:
        """An alert may go on for a moment after what it asked for has helped."""
        if run.result is not Result.FIXED or run.ended_at is None:
            return False
        return all(identity(a.labels) == run.alert and a.since <= run.ended_at for a in self.firing)

    @property
    def suggested(self) -> AlertFact | None:
        """A firing alert that names an action which does not run now."""
        if self.focus is not None and self.focus.state is not RunState.ENDED:
            return None
        return next((alert for alert in self.firing if alert.labels.get("action")), None)

    @property
    def over(self) -> bool:
        return not self.firing and not any(run.state is not RunState.ENDED for run in self.runs.values())

    def decidable(self) -> tuple[object, ...]:
        run = self.focus
        suggested = self.suggested
        return (
            self.stage,
            None if run is None else (run.id, run.digest, run.state),
            None if suggested is None else identity(suggested.labels),
        )


def opened(news: News, now: float) -> Facts:
    """The thread that a piece of news begins, which is to be told to it as well."""
    labels: Mapping[str, str] = {}
    match news:
        case AlertNews(labels=labels) | SilenceNews(labels=labels):
            title, environment = labels.get("alertname", "alert"), labels.get("environment", "")
        case RunNews(run=run, alert=alert):
            labels = alert or {}
            title = labels.get("alertname") or run.action
            environment = run.environment
        case DigestNews():
            return Facts(title="Promises", begun_at=now, changed_at=now, digest=news, severity="info")
    subjects = (title, labels.get("promise", ""), labels.get("action", ""))
    return Facts(
        title=title,
        environment=environment,
        tier=labels.get("tier", ""),
        severity=labels.get("severity", "warning"),
        promise=labels.get("promise", ""),
        subjects=tuple(dict.fromkeys(one for one in subjects if one)),
        begun_at=news.at,
        changed_at=now,
    )


def advance(facts: Facts, news: News) -> Facts:
    """The thread after a piece of news; the same one when it is told twice."""
    if news.id in facts.seen:
        return facts
    told: Facts
    match news:
        case AlertNews():
            told = _alert(facts, news)
        case RunNews():
            told = _run(facts, news)
        case SilenceNews():
            told = _silence(facts, news)
        case DigestNews():
            told = facts
    seen = (*facts.seen, news.id)[-_KEPT_IDS:]
    told = told.model_copy(update={"seen": seen, "changed_at": max(news.at, facts.changed_at)})
    return settled(facts, told)


def settled(before: Facts, after: Facts) -> Facts:
    """`after` with what follows from it: its end, and another version where people can decide something else."""
    ended = (after.ended_at or after.changed_at) if after.over else None
    version = before.version + (before.decidable() != after.decidable())
    return after.model_copy(update={"ended_at": ended, "version": version})


def _alert(facts: Facts, news: AlertNews) -> Facts:
    key = identity(news.labels)
    alerts = dict(facts.alerts)
    known = alerts.get(key)
    more = facts.more
    if not news.firing:
        if known is None:
            return facts.model_copy(update={"more": max(0, more - 1)})
        alerts[key] = known.model_copy(update={"firing": False})
    elif known is None and len(alerts) >= _KEPT_ALERTS:
        more += 1
    else:
        alerts[key] = AlertFact(
            labels=news.labels,
            summary=news.summary,
            description=news.description,
            runbook=news.runbook,
            since=news.at,
        )
    severity = min(facts.severity, news.labels.get("severity", "warning"), key=_rank) if news.firing else facts.severity
    told = facts.model_copy(update={"alerts": alerts, "more": more, "severity": severity})
    if news.firing and facts.alerts and not facts.firing and facts.over:
        told = told.model_copy(update={"again": facts.again + 1})
        return _say(told, Reply(id=news.id, about="again", text=news.summary, call=True, broadcast=True))
    if not news.firing and not told.firing and not told.more and facts.firing:
        took = news.at - min(alert.since for alert in alerts.values())
        return _say(told, Reply(id=news.id, about="resolved", text=f"{took:.0f}"))
    return told


def _rank(severity: str) -> int:
    ranks = ("critical", "warning", "info")
    return ranks.index(severity) if severity in ranks else len(ranks)


def _run(facts: Facts, news: RunNews) -> Facts:
    known = facts.runs.get(news.run.id)
    if known is not None and known.state is RunState.ENDED and news.run.state is not RunState.ENDED:
        return facts  # what comes late changes no end
    run = news.run.model_copy(
        update={
            "steps_done": (known.steps_done if known else 0) + (news.happened is Happened.STEP),
            "approved_by": known.approved_by if known and known.digest == news.run.digest else (),
            "escalated": news.happened is Happened.ESCALATED or (known is not None and known.escalated),
            "plan": news.run.plan or (known.plan if known else None),
        }
    )
    told = facts.model_copy(update={"runs": _latest(facts.runs, run)})
    about = _ABOUT.get(news.happened)
    if about is not None:
        reply = Reply(id=news.id, about=about, text=news.text, run=run.id, before=news.before, after=news.after)
        calls = about in {"asked", "escalated"}
        told = _say(told, reply.model_copy(update={"call": calls, "broadcast": about == "escalated"}))
    if news.happened is Happened.STEP:
        steps = len(run.plan.steps) if run.plan else 0
        told = doing(told, run.id, f"{run.steps_done} of {steps or '?'} steps done, the last one: {news.text}")
    return told


_ABOUT: Mapping[Happened, str] = {
    Happened.PLANNED: "plan",
    Happened.ASKED: "asked",
    Happened.ANSWERED: "answered",
    Happened.REFUSED: "refused",
    Happened.DONE: "outcome",
    Happened.ESCALATED: "escalated",
    Happened.TAKEN_OVER: "taken over",
}


def _latest(runs: Mapping[str, RunFact], run: RunFact) -> dict[str, RunFact]:
    """Ten at most: those that go on, and the last that ended."""
    found = dict(runs) | {run.id: run}
    ended = [name for name, each in found.items() if each.state is RunState.ENDED and name != run.id]
    for name in ended[: max(0, len(found) - 10)]:
        del found[name]
    return found


def _silence(facts: Facts, news: SilenceNews) -> Facts:
    if facts.silenced_until == news.until and (news.until is None or facts.silenced_by == news.by):
        return facts
    by = news.by if news.until is not None else ""
    told = facts.model_copy(update={"silenced_until": news.until, "silenced_by": by})
    until = "" if news.until is None else f"{news.until:.0f}"
    return _say(told, Reply(id=news.id, about="silence", text=until, run=news.by))


def answered(facts: Facts, run: RunFact, person: str, *, approved: bool) -> Facts:
    """Somebody has just answered here, or looked: seen before the news of it comes, and not told twice.

    Where that has come already, `run` may be older than what is known: then only the approval is added.
    """
    known = facts.runs.get(run.id)
    if known is not None and _order(known) > _order(run):
        run = known
    names = (*(known.approved_by if known else ()), *((person,) if approved else ()))
    run = run.model_copy(
        update={
            "approved_by": tuple(dict.fromkeys(names)),
            "plan": run.plan or (known.plan if known else None),
            "steps_done": known.steps_done if known else 0,
            "escalated": known is not None and known.escalated,
        }
    )
    if known is not None and run.model_copy(update={"attempt": known.attempt}) == known:
        return facts  # to wait once more is nothing new to show
    return settled(facts, facts.model_copy(update={"runs": _latest(facts.runs, run)}))


def _order(run: RunFact) -> tuple[bool, int, int]:
    """What a run goes through, in this order: no way leads back within an attempt, and none from the end."""
    return run.state is RunState.ENDED, run.attempt, _WITHIN_ATTEMPT.get(run.state, 2)


_WITHIN_ATTEMPT = {RunState.RUNNING: 0, RunState.WAITING: 1}


def silenced(facts: Facts, until: float | None, by: str, at: float) -> Facts:
    """Somebody has just silenced it here, or has ended a silence."""
    ended = "over" if until is None else f"{until:.0f}"
    news = SilenceNews(id=f"silence:{by}:{at:.3f}:{ended}", at=at, labels={}, until=until, by=by)
    return advance(facts, news)


def doing(facts: Facts, run: str, text: str) -> Facts:
    """How far a run is, for its one reply."""
    known = facts.progress if facts.progress is not None and facts.progress.run == run else Progress(run=run, text="")
    return facts.model_copy(update={"progress": known.model_copy(update={"text": text})})


def _say(facts: Facts, reply: Reply) -> Facts:
    return facts.model_copy(update={"replies": (*facts.replies, reply)})


def changed_reply(facts: Facts, reply: str, **fields: Any) -> Facts:
    """`reply` with other fields; without any, it was posted and is gone."""
    kept = [one.model_copy(update=fields) if one.id == reply else one for one in facts.replies]
    return facts.model_copy(update={"replies": tuple(one for one in kept if fields or one.id != reply)})
