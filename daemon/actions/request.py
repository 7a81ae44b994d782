"""What is asked of the pipeline, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants an action to run on an environment.

    `key` is the idempotency key: what was done once under a key is not done again. `alert` holds the labels of the
    alert that asked, `at` the unix seconds of asking.
    """

    environment: str
    action: str
    key: str
    requested_by: str
    at: float
    reason: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    alert: Mapping[str, str] | None = None


class Result(StrEnum):
    FIXED = "fixed"  # done, and the world is as the action meant it
    NOT_FIXED = "not_fixed"  # done, and it did not help, or nobody can tell
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"  # the daemon stopped in the middle


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, in `seconds` from its request's turn to its end."""

    run_id: str
    result: Result
    reason: str
    figures: Mapping[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0
