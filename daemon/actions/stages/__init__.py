"""The way of a run: each stage does one thing, and says None to go on or how the turn ends."""

from daemon.actions.stages._apply import apply
from daemon.actions.stages._approve import approve
from daemon.actions.stages._guard import begin, guard
from daemon.actions.stages._plan import plan
from daemon.actions.stages._verify import verify
from daemon.actions.turn import Stage

STAGES: tuple[Stage, ...] = (guard, plan, approve, begin, apply, verify)

__all__ = ["STAGES"]
