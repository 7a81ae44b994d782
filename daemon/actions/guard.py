"""Whether an action may run: a pure function of request, policy, history and time. What is unknown is a no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from pydantic import Field

from daemon.actions.request import Request, Result
from fleet.durations import Duration, format_duration
from fleet.policy import Consent, MaintenanceWindow, Policy, Risk, Strict

HOUR = 3600.0
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOWED = {Risk.GUARDED, Risk.DANGEROUS, Risk.DESTRUCTIVE}
_BAD = {Result.FAILED, Result.NOT_FIXED, Result.INTERRUPTED}


class Limits(Strict):
    """Bounds on what the daemon does by itself."""

    per_hour: int = Field(20, ge=1, description="most actions begun on one environment in an hour")
    cooldown: Duration = Field(timedelta(minutes=1), description="wait after a failure; doubles with each one after it")
    longest_cooldown: Duration = Field(timedelta(hours=1), description="no wait is longer")
    at_once: int = Field(2, ge=1, description="actions that run at the same time, one on an environment")
    queue: int = Field(100, ge=1, description="most requests that wait for their turn")


@dataclass(frozen=True, slots=True)
class Ended:
    """How an earlier run of the same action on the same environment ended, and when (unix seconds)."""

    result: Result
    at: float
    key: str


@dataclass(frozen=True, slots=True)
class History:
    """What the ledger knows: runs under way, ended ones (newest first), and when any began on the environment."""

    running: Sequence[str] = ()
    ended: Sequence[Ended] = ()
    begun: Sequence[float] = ()


class Ground(StrEnum):
    """Why something was refused: a word that does not change, beside the words for people."""

    STOPPED = "stopped"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    FORBIDDEN = "forbidden"
    NEEDS_APPROVAL = "needs_approval"
    OUTSIDE_WINDOW = "outside_window"
    RUNNING = "running"
    REPEATED = "repeated"
    COOLING_DOWN = "cooling_down"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True, slots=True)
class Allowed:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    ground: Ground
    reason: str


Decision = Allowed | Refused


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything else that a decision rests on, at `now` (unix seconds).

    `stopped` is the global stop switch; None for it or for `history` means that it could not be read.
    """

    policy: Policy
    history: History | None
    now: float
    stopped: bool | None = False
    limits: Limits = field(default_factory=Limits)


def decide(request: Request, risk: Risk, situation: Situation) -> Decision:
    if situation.stopped is None:
        return Refused(Ground.UNKNOWN, "whether actions are stopped cannot be read")
    if situation.stopped:
        return Refused(Ground.STOPPED, "all actions are stopped: the file stop-actions is there")
    history, policy, now = situation.history, situation.policy, situation.now
    if history is None:
        return Refused(Ground.UNKNOWN, "the ledger cannot be read, so what was done before is unknown")
    refusals = (
        _consent(risk, policy),
        _window(risk, policy.window, now),
        _repeat(request, history),
        _cooldown(history, now, situation.limits),
        _rate(request, history, now, situation.limits),
    )
    return next((refusal for refusal in refusals if refusal), Allowed())


def _consent(risk: Risk, policy: Policy) -> Refused | None:
    match policy.consent.of(risk):
        case Consent.AUTO:
            return None
        case Consent.FORBIDDEN:
            return Refused(Ground.FORBIDDEN, f"the policy forbids {risk.value} actions here")
        case Consent.ONE_APPROVAL:
            return Refused(Ground.NEEDS_APPROVAL, f"a {risk.value} action needs one approval here, {_NOT_YET}")
        case Consent.TWO_APPROVALS:
            return Refused(Ground.NEEDS_APPROVAL, f"a {risk.value} action needs two approvals here, {_NOT_YET}")


_NOT_YET = "and approving is not possible yet"


def _window(risk: Risk, window: MaintenanceWindow | None, now: float) -> Refused | None:
    if risk not in _WINDOWED or window is None or is_open(window, now):
        return None
    when = f"{', '.join(window.days)} {window.start:%H:%M} for {format_duration(window.length)}, {window.timezone}"
    return Refused(Ground.OUTSIDE_WINDOW, f"outside the maintenance window ({when})")


def is_open(window: MaintenanceWindow, now: float) -> bool:
    """Whether the window is open at `now` (unix seconds).

    It opens by the clock of its zone and stays open for its length in real time, across midnight and changes of the
    clock alike. An opening that the clock skips in spring happens an hour later on the clock, one that it repeats in
    autumn happens the first time.
    """
    zone = ZoneInfo(window.timezone)
    today = datetime.fromtimestamp(now, zone).date()
    for days_ago in range(window.length.days + 2):
        day = today - timedelta(days=days_ago)
        begin = datetime.combine(day, window.start, zone).astimezone(UTC).timestamp()
        if _DAYS[day.weekday()] in window.days and begin <= now < begin + window.length.total_seconds():
            return True
    return False


def _repeat(request: Request, history: History) -> Refused | None:
    if history.running:
        return Refused(Ground.RUNNING, f"{request.action} is already under way there (run {history.running[0]})")
    if any(run.key == request.key and run.result is Result.FIXED for run in history.ended):
        return Refused(Ground.REPEATED, f"this was asked before under the key {request.key} and is done")
    return None


def _cooldown(history: History, now: float, limits: Limits) -> Refused | None:
    failures = 0
    for run in history.ended:
        if run.result not in _BAD:
            break
        failures += 1
    if not failures:
        return None
    longest = limits.longest_cooldown.total_seconds()
    # 2 ** 30 minutes are longer than any cooldown; more would overflow
    wait = min(limits.cooldown.total_seconds() * 2 ** min(failures - 1, 30), longest)
    left = history.ended[0].at + wait - now
    if left <= 0:
        return None
    times = "it failed last time" if failures == 1 else f"it failed {failures} times in a row"
    return Refused(Ground.COOLING_DOWN, f"{times}; not again before {left:.0f} s have passed")


def _rate(request: Request, history: History, now: float, limits: Limits) -> Refused | None:
    recent = sum(now - HOUR < at for at in history.begun)
    if recent < limits.per_hour:
        return None
    return Refused(
        Ground.RATE_LIMITED,
        f"{recent} actions were begun on {request.environment} within an hour, the limit is reached",
    )
