"""One run on its way through the pipeline, and what the daemon hands in for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actions import Action, Job
from actions._action import Progress
from daemon.actions.events import ActionEvent
from daemon.actions.request import Request
from fleet.policy import Strict


class World(Protocol):
    """What the pipeline needs of the daemon around it."""

    def job(self, environment: str, run_id: str, started_at: float, progress: Progress) -> Job | None:
        """The means for one run; None where no environment has that name (any more)."""

    async def reread(self, environment: str, subjects: Sequence[str]) -> None:
        """Run the collectors `subjects` of an environment now and evaluate the rules that read them."""

    def still_firing(self, alert: Mapping[str, str]) -> bool:
        """Whether the alert with these labels is still pending or firing."""

    def emit(self, event: ActionEvent) -> None:
        """Tell whoever listens. Must not block."""


@dataclass(slots=True)
class Run:
    """A request that is worked on; times in unix seconds."""

    id: str
    request: Request
    since: float
    step: str = "waiting"
    ratio: float = 0.0
    doing: str = ""
    events: int = 0

    def progress(self, ratio: float, doing: str) -> None:
        self.ratio, self.doing = ratio, doing


@dataclass(frozen=True, slots=True)
class Means:
    """What a run was found to need when it was checked."""

    action: Action[Any]
    job: Job
    parameters: Strict
