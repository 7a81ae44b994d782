"""What a decision rests on, and the decision. All moments are unix seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from actions import Target
from daemon.actions.request import Request, Result, Source
from daemon.actions.views import StopSwitch
from daemon.config import Limits
from fleet.policy import Consent, Policy, Risk


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked: the request, how much harm its action can do, and what it would work on."""

    request: Request
    risk: Risk
    target: Target
    windowed: bool = True

    @property
    def automatic(self) -> bool:
        return self.request.source is not Source.PERSON

    @property
    def what(self) -> str:
        return called(self.request.action, self.target.object, self.request.environment)


@dataclass(frozen=True, slots=True)
class Running:
    """A run that has begun and not ended; `databases` are those that it touches, None: any."""

    run_id: str
    environment: str
    action: str
    object: str
    databases: frozenset[str] | None
    store: str | None

    @property
    def what(self) -> str:
        return f"{called(self.action, self.object, self.environment)} (run {self.run_id})"


@dataclass(frozen=True, slots=True)
class Ended:
    """How an earlier run ended, and when."""

    run_id: str
    result: Result
    at: float


@dataclass(frozen=True, slots=True)
class History:
    """What the state database knows, this run always left out.

    `running` is of the whole fleet. `ended` is of the same environment, action and object, newest first, without what
    was refused. `begun_here` (on the environment) and `begun_fleet` count what began within the last hour.
    """

    running: Sequence[Running] = ()
    ended: Sequence[Ended] = ()
    begun_here: int = 0
    begun_fleet: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything else that a decision rests on, at `now`.

    `history` and `switch`, the global stop switch, are None where they cannot be read. `operator_refusal` says why the
    person who asks, or who sent the alert that does, may not; None where they may, and where there is none. `conflicts`
    names, by action, those that must not run on the same database at once; it works both ways. `alert_active` tells of
    the alert that asked, None where none did. `disk_needed`, `disk_free` and `disk_total` are bytes, of the disk of the
    environment's server, None where unknown.
    """

    policy: Policy
    limits: Limits
    now: float
    history: History | None
    switch: StopSwitch | None
    operator_refusal: str | None
    conflicts: Mapping[str, frozenset[str]]
    alert_active: bool | None
    disk_needed: float = 0.0
    disk_free: float | None = None
    disk_total: float | None = None


class Ground(StrEnum):
    """Why not, or not yet: a word that does not change, beside the words for people."""

    FORBIDDEN = "forbidden"
    NOT_ALLOWED = "not_allowed"
    NO_LONGER_NEEDED = "no_longer_needed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    BREAKER_OPEN = "breaker_open"
    COOLING_DOWN = "cooling_down"
    RATE_LIMITED = "rate_limited"
    DISK_FULL = "disk_full"
    OUTSIDE_WINDOW = "outside_window"
    RUNNING = "running"
    CONFLICT = "conflict"
    STORE_BUSY = "store_busy"
    ENVIRONMENT_BUSY = "environment_busy"
    FLEET_BUSY = "fleet_busy"


@dataclass(frozen=True, slots=True)
class Allowed:
    """It may run, once the policy's consent is given."""

    consent: Consent


@dataclass(frozen=True, slots=True)
class Wait:
    """It may run later: not before `until`, or, where that is None, when one of the runs `behind` has ended.

    People can be asked for their approval meanwhile: nobody is awake when the maintenance window opens.
    """

    ground: Ground
    reason: str
    until: float | None
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    ground: Ground
    reason: str

    @property
    def result(self) -> Result:
        return Result.CANCELLED if self.ground is Ground.NO_LONGER_NEEDED else Result.REFUSED


Decision = Allowed | Wait | Refused


def called(action: str, target: str, environment: str) -> str:
    """A run in words: `vacuum of app.public.messages on qa`."""
    return f"{action} of {target} on {environment}" if target else f"{action} on {environment}"
