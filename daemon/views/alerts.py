"""Alerts as people and programs see them, with the rule of each and what is being done. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from daemon.actions.request import Result
from daemon.actions.views import LedgerView, Run, RunState
from daemon.alertmanager import fingerprint
from daemon.dispatch import wish
from fleet.errors import CustodeError
from rules import AlertView, GroupView, RuleView, State

SEVERITIES = ("critical", "warning", "info")
_ORDER = (State.FIRING, State.PENDING, State.RESOLVED)
_SLACK = 1.0  # seconds: a request is made when the alert is already there


class UnknownAlertError(CustodeError):
    """No alert of this fingerprint is known now."""

    code = "CU650"


@dataclass(frozen=True, slots=True)
class RuleOfAlert:
    """`anchor` is where the page of rules shows it."""

    name: str
    group: str
    file: str
    line: int
    query: str
    hold: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An alert that is pending, firing or was resolved in the last 15 minutes. Times in unix seconds.

    `runbook` is an address that may be followed, None where the annotation holds no http or https one; `action` is what
    its rule asks for.
    """

    fingerprint: str
    name: str
    environment: str
    severity: str
    state: State
    value: float
    summary: str
    description: str
    runbook: str | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    active_at: float
    fired_at: float | None
    resolved_at: float | None
    keep_firing_since: float | None
    action: str | None
    rule: RuleOfAlert


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `who` did it, `entry` is what the ledger says, `run_id` of which run."""

    at: float
    what: str
    who: str | None = None
    entry: LedgerView | None = None
    run_id: str | None = None


def shown_alerts(groups: Iterable[GroupView]) -> list[Shown]:
    """Those that fire first, of these the worst, of these the oldest."""
    found = [_shown(alert, rule) for group in groups for rule, alerts in group.rules for alert in alerts]
    return sorted((one for one in found if one.state in _ORDER), key=_weight)


def anchor(rule: RuleView) -> str:
    """Names a rule within a page, the same as long as its file does not change above it."""
    return "rule-" + sha256(f"{rule.file}\0{rule.group}\0{rule.name}\0{rule.line}".encode()).hexdigest()[:12]


def runbook(annotations: Mapping[str, str]) -> str | None:
    """What a rule calls its runbook, where a browser may be sent there: a rule may have taken it from a name."""
    address = annotations.get("runbook_url", "")
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in {"http", "https"} and parts.netloc else None


class KnownRuns:
    """Runs, by the alerts that have asked for them."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._by_alert: dict[frozenset[tuple[str, str]], list[Run]] = {}
        self._under_way: dict[tuple[str, str], Run] = {}
        every = {run.id: run for run in runs}
        for run in sorted(every.values(), key=lambda run: run.requested_at, reverse=True):
            if run.alert is not None:
                self._by_alert.setdefault(frozenset(run.alert.items()), []).append(run)
            if run.state is not RunState.ENDED:
                self._under_way.setdefault((run.environment, run.action), run)

    def of(self, alert: Shown) -> list[Run]:
        """Those that this alert has asked for since it began, the newest first."""
        found = self._by_alert.get(frozenset(alert.labels.items()), ())
        return [run for run in found if run.requested_at >= alert.active_at - _SLACK]

    def other(self, alert: Shown) -> Run | None:
        """One of the same action in the same environment that is under way, whoever has asked for it."""
        return self._under_way.get((alert.environment, alert.action or ""))


def doing(alert: Shown, known: KnownRuns | None) -> tuple[str, Run | None]:
    """What is being done about it, in words, and the run that does it; `known` is None while nobody knows of runs."""
    if known is not None and (runs := known.of(alert)):
        return _told(runs[0]), runs[0]
    if known is not None and alert.state is State.FIRING and (other := known.other(alert)):
        return f"Another {_told(other)}; asked for by {other.requested_by}", other
    return _unasked(alert, known is not None), None


def _unasked(alert: Shown, known: bool) -> str:
    if alert.action is None and alert.state is not State.RESOLVED:
        return "Nothing it may do by itself: this is for people"
    if not known:
        return "Not known: the state database is away"
    if alert.state is State.RESOLVED:
        return "It ended; no run of Custode's is known"
    if alert.state is State.PENDING:
        return f"Asks for {alert.action} once it fires"
    return f"It asks for {alert.action}; no run of it is known"


def timeline(alert: Shown, entries: Iterable[LedgerView]) -> list[Event]:
    """What happened, oldest first: how the alert went on, and what the ledger says of it."""
    return sorted([*_life(alert), *map(_entry, entries)], key=lambda event: event.at)


def _life(alert: Shown) -> Iterator[Event]:
    held = alert.rule.hold
    if alert.fired_at is None:
        yield Event(alert.active_at, "Its condition holds: it is pending")
    elif held > 0 and alert.fired_at > alert.active_at:
        yield Event(alert.active_at, "Its condition held for the first time: it was pending")
    if alert.fired_at is not None:
        yield Event(alert.fired_at, "It fires")
    if alert.keep_firing_since is not None:
        yield Event(alert.keep_firing_since, "Its condition holds no longer; it goes on firing for a while")
    if alert.resolved_at is not None:
        yield Event(alert.resolved_at, "It was resolved")


def _entry(entry: LedgerView) -> Event:
    return Event(entry.at, entry.entry.replace("_", " "), entry.person, entry, entry.run_id)


def _told(run: Run) -> str:
    match run.state:
        case RunState.QUEUED:
            return f"{run.action} is queued" + (f": {run.parked}" if run.parked else "")
        case RunState.WAITING:
            needed = run.approvals_needed
            return f"{run.action} waits for {needed} approval{'' if needed == 1 else 's'}"
        case RunState.RUNNING:
            step = f": {run.step}" if run.step else ""
            done = f", {run.progress.ratio:.0%}" if run.progress is not None and run.progress.ratio > 0 else ""
            return f"{run.action} is running{step}{done}"
        case RunState.PAUSED:
            return f"{run.action} is paused"
        case RunState.ENDED:
            return f"{run.action} {_ENDED.get(run.result, 'ended')}" + (f": {run.outcome}" if run.outcome else "")


_ENDED: Mapping[Result | None, str] = {
    Result.FIXED: "helped",
    Result.NOT_FIXED: "did not help",
    Result.FAILED: "failed",
    Result.REFUSED: "was refused",
    Result.CANCELLED: "was cancelled",
}


def _shown(alert: AlertView, rule: RuleView) -> Shown:
    labels, texts = dict(alert.labels), dict(alert.annotations)
    return Shown(
        fingerprint=fingerprint(alert.labels),
        name=alert.name,
        environment=labels.get("environment", ""),
        severity=labels.get("severity", ""),
        state=alert.state,
        value=alert.value,
        summary=texts.get("summary") or alert.name,
        description=texts.get("description", ""),
        runbook=runbook(texts),
        labels=labels,
        annotations=texts,
        active_at=alert.active_at,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        keep_firing_since=alert.keep_firing_since,
        action=wish(alert),
        rule=RuleOfAlert(rule.name, rule.group, rule.file, rule.line, rule.query, rule.hold, anchor(rule)),
    )


def _weight(alert: Shown) -> tuple[int, int, float]:
    rank = SEVERITIES.index(alert.severity) if alert.severity in SEVERITIES else len(SEVERITIES)
    return _ORDER.index(alert.state), rank, alert.active_at
