"""What the pipeline tells as a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from daemon.actions.request import Request, Result


class Happened(StrEnum):
    REQUESTED = "requested"
    REFUSED = "refused"
    PLANNED = "planned"
    STEP = "step"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """Something happened in a run; `number` counts the events of the run, `result` is there when it has ended."""

    kind: Happened
    run_id: str
    number: int
    request: Request
    at: float
    text: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)
    result: Result | None = None

    @property
    def title(self) -> str:
        """What happened, in words: `planned`, `dump done`, `not fixed`."""
        if self.kind is Happened.STEP:
            return f"{self.text} done"
        return (self.result or self.kind).value.replace("_", " ")
