"""A run as it stands in the state database, and what is shown of it. All moments are unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from actions import Plan
from daemon.actions.request import Request, Result, Source


class RunState(StrEnum):
    QUEUED = "queued"  # wants a turn; `parked` says what it waits for
    WAITING = "waiting"  # for people to approve
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Progress:
    """Of the step under way: done as a ratio, and how many seconds it may still take, where that can be told."""

    ratio: float
    doing: str
    at: float
    left_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    key: str
    source: Source
    environment: str
    action: str
    object: str
    parameters: Mapping[str, Any]
    requested_by: str
    requested_at: float
    reason: str
    alert: Mapping[str, str] | None
    state: RunState
    ground: str | None = None
    parked: str | None = None
    not_before: float | None = None
    attempt: int = 0
    deaths: int = 0
    owner: str | None = None
    plan: Plan | None = None
    digest: str | None = None
    approvals_needed: int = 0
    expires_at: float | None = None
    begun_at: float | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    step: str | None = None
    progress: Progress | None = None
    asked: str | None = None
    asked_by: str | None = None
    result: Result | None = None
    outcome: str | None = None
    before: Mapping[str, float | str] | None = None
    after: Mapping[str, float | str] | None = None
    ended_at: float | None = None
    sender: str | None = None


def requester_of(asked: Run | Request) -> str | None:
    """The operator whose rights it has, and whose approval is his own: who asked, or who sent the alert that did.

    None: nobody did, it is of a rule or a schedule of ours.
    """
    return asked.requested_by if asked.source is Source.PERSON else asked.sender


@dataclass(frozen=True, slots=True)
class StepView:
    number: int
    name: str
    attempt: int
    tries: int
    begun_at: float
    finished_at: float | None
    figures: Mapping[str, float | str] | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said to one plan."""

    person: str
    approved: bool
    reason: str
    via: str
    at: float
    digest: str


@dataclass(frozen=True, slots=True)
class RunDetail:
    run: Run
    steps: tuple[StepView, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What would come of a request, found out without changing anything.

    `decision` is allowed, waits or refused; `reason` is why, `consent` what the policy asks for (None where it is
    refused before that), `plan` is None where there cannot be one.
    """

    environment: str
    action: str
    risk: str
    parameters: Mapping[str, Any]
    decision: str
    reason: str
    consent: str | None
    plan: Plan | None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The run of a request, and whether the request made it; `note` says why not."""

    run: Run
    new: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Runs, newest first. `states`, `results` empty: all; `before`: only those requested before that moment."""

    environment: str | None = None
    action: str | None = None
    states: tuple[RunState, ...] = ()
    before: float | None = None
    limit: int = 50
    results: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerView:
    id: int
    at: float
    entry: str
    run_id: str | None
    environment: str | None
    action: str | None
    person: str | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerFilter:
    """Entries, newest first. `before`: only entries with a smaller id."""

    run_id: str | None = None
    environment: str | None = None
    action: str | None = None
    person: str | None = None
    entry: str | None = None
    since: float | None = None
    before: int | None = None
    limit: int = 100


STOP_FILE = "stop-actions"  # in the data directory


@dataclass(frozen=True, slots=True)
class StopSwitch:
    """Whether all actions are stopped; who did it, why and when."""

    stopped: bool
    reason: str = ""
    by: str = ""
    at: float | None = None
