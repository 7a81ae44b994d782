"""Where something is told, who is called, and when it has to wait: pure functions of the options."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from daemon.actions.events import Happened
from daemon.actions.request import Result, Source
from daemon.slack.news import AlertNews, DigestNews, News, RunNews, SilenceNews
from daemon.slack.settings import SlackSettings
from daemon.slack.thread import Facts

_RANKS = ("critical", "warning", "info")


def opens(news: News, settings: SlackSettings) -> bool:
    """Whether a piece of news is worth a thread; where there is one, everything is told in it."""
    match news:
        case AlertNews(firing=firing, labels=labels):
            return firing and _rank(labels.get("severity", "warning")) <= _rank(settings.least)
        case RunNews(happened=happened, run=run):
            if happened in {Happened.ASKED, Happened.ESCALATED}:
                return True
            if happened is Happened.DONE and run.result in {Result.FAILED, Result.NOT_FIXED}:
                return True
            return run.source is Source.PERSON and happened is not Happened.REQUESTED
        case SilenceNews():
            return False
        case DigestNews():
            return True


def _rank(severity: str) -> int:
    return _RANKS.index(severity) if severity in _RANKS else len(_RANKS)


def is_emergency(facts: Facts) -> bool:
    """Production cannot be reached."""
    return facts.severity == "critical" and facts.promise == "reachable" and facts.tier == "production"


def channel_for(facts: Facts, settings: SlackSettings) -> str:
    if is_emergency(facts) and settings.emergency.channel:
        return settings.emergency.channel
    by_severity = next((name for least, name in settings.severities.items() if least == facts.severity), None)
    return by_severity or settings.channels.get(facts.environment) or settings.channel


def owners(facts: Facts, settings: SlackSettings) -> tuple[str, ...]:
    """Whom to mention: the owners of the first subject that has some, and whoever is called in an emergency."""
    if facts.digest is not None or facts.storm:
        return ()
    found: Iterable[str] = next(
        (settings.owners[subject] for subject in facts.subjects if subject in settings.owners),
        settings.owners.get("default", ()),
    )
    called = settings.emergency.mention if is_emergency(facts) else ()
    return tuple(dict.fromkeys((*called, *found)))


def quiet_until(facts: Facts, settings: SlackSettings, now: float) -> float | None:
    """Until when (unix seconds) nothing of this is posted; None: it may be posted now."""
    quiet = settings.quiet
    if quiet is None or facts.severity == "critical" or facts.digest is not None or quiet.begin == quiet.end:
        return None
    local = datetime.fromtimestamp(now, settings.timezone)
    clock = local.time().replace(tzinfo=None)
    over_midnight = quiet.begin > quiet.end
    inside = (clock >= quiet.begin or clock < quiet.end) if over_midnight else quiet.begin <= clock < quiet.end
    if not inside:
        return None
    end = datetime.combine(local.date(), quiet.end, settings.timezone)
    return (
        end if end > local else datetime.combine(local.date() + timedelta(days=1), quiet.end, settings.timezone)
    ).timestamp()
