"""What is asked of the engine, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    ALERT = "alert"
    SCHEDULE = "schedule"
    PERSON = "person"  # over the command line, HTTP, Slack
    RUN = "run"  # another run, which cannot or may not do it itself


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants an action to run on an environment.

    `key` is the idempotency key: one key is one run, however often it is asked; an alert whose run did not help may
    ask again. `requested_by` names the person, or `alert NAME`, `schedule NAME`, `run ID`. `alert` holds the labels of
    the alert that asked, `at` the unix seconds of asking. `sender` is the operator who sent that alert from elsewhere:
    it may no more than its sender may.
    """

    environment: str
    action: str
    key: str
    requested_by: str
    at: float
    source: Source = Source.ALERT
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    alert: Mapping[str, str] | None = None
    sender: str | None = None


class Result(StrEnum):
    FIXED = "fixed"  # done, and the world is as the action meant it
    NOT_FIXED = "not_fixed"  # done, and it did not help, or nobody can tell
    FAILED = "failed"
    REFUSED = "refused"  # by the guard or by people
    CANCELLED = "cancelled"  # by people, or because what asked for it has ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, in `seconds` from its begin to its end, with the figures of the world before and after."""

    run_id: str
    result: Result
    reason: str
    before: Mapping[str, float | str] = field(default_factory=dict)
    after: Mapping[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0
