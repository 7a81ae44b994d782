"""What the engine tells as a run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from daemon.actions.request import Result
from daemon.actions.views import Run


class Happened(StrEnum):
    REQUESTED = "requested"
    REFUSED = "refused"
    PLANNED = "planned"
    PARKED = "parked"
    ASKED = "asked"  # people, to approve
    ANSWERED = "answered"
    BEGUN = "begun"
    TAKEN_OVER = "taken_over"
    STEP = "step"
    DONE = "done"
    ESCALATED = "escalated"  # it does not help, and is not tried again without a person


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """Something happened in a run at `at` (unix seconds); `result` is there when it has ended.

    `again`: it was told before, of the run that the same alert asked for before, and is for counters only.
    """

    kind: Happened
    run: Run
    at: float
    text: str = ""
    figures: Mapping[str, float | str] = field(default_factory=dict)
    result: Result | None = None
    again: bool = False

    @property
    def id(self) -> str:
        return f"{self.run.id}:{self.kind.value}:{self.at:.6f}"

    @property
    def title(self) -> str:
        """What happened, in words: `planned`, `dump done`, `not fixed`."""
        match self.kind:
            case Happened.STEP:
                return f"{self.text} done"
            case Happened.ASKED:
                return f"waits for {'an approval' if self.run.approvals_needed == 1 else 'two approvals'}"
            case Happened.PARKED:
                return "waits"
            case Happened.ESCALATED:
                return "needs a person"
        return (self.result or self.kind).value.replace("_", " ")
