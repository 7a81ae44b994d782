"""Whether an action may run now: pure functions of request, policy, history and time. What is unknown is a no."""

from daemon.actions.guard._decide import decide, objections
from daemon.actions.guard._facts import (
    Allowed,
    Case,
    Decision,
    Ended,
    Ground,
    History,
    Refused,
    Running,
    Situation,
    Wait,
)
from daemon.actions.guard._past import breaker_open
from daemon.actions.guard._turn import turn as in_the_way
from daemon.actions.guard._window import is_open, opens_next
from daemon.config import Limits

__all__ = [
    "Allowed",
    "Case",
    "Decision",
    "Ended",
    "Ground",
    "History",
    "Limits",
    "Refused",
    "Running",
    "Situation",
    "Wait",
    "breaker_open",
    "decide",
    "in_the_way",
    "is_open",
    "objections",
    "opens_next",
]
