"""What can be done with a run, by whom: pure functions. The engine decides again, whatever is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from actions import Action
from daemon.actions.approvals import objection
from daemon.actions.operators import Operators
from daemon.actions.request import Result
from daemon.actions.views import Answer, Run, RunState, requester_of
from daemon.config import Settings, Verb
from fleet.policy import Consent, Risk

HARMFUL = frozenset({Risk.DANGEROUS, Risk.DESTRUCTIVE})
_VERBS: Mapping[str, frozenset[RunState]] = {
    "approve": frozenset({RunState.WAITING}),
    "reject": frozenset({RunState.WAITING}),
    "pause": frozenset({RunState.QUEUED, RunState.RUNNING}),
    "resume": frozenset({RunState.PAUSED}),
    "cancel": frozenset({RunState.QUEUED, RunState.WAITING, RunState.RUNNING, RunState.PAUSED}),
    "retry": frozenset({RunState.ENDED}),
}
SIGNS: Mapping[str, tuple[str, str]] = {
    RunState.QUEUED: ("…", "muted"),
    RunState.WAITING: ("?", "warning"),
    RunState.RUNNING: ("▶", "info"),
    RunState.PAUSED: ("‖", "muted"),
    Result.FIXED: ("✓", "ok"),
    Result.NOT_FIXED: ("✗", "warning"),
    Result.FAILED: ("✗", "critical"),
    Result.REFUSED: ("✗", "muted"),
    Result.CANCELLED: ("–", "muted"),
    "allowed": ("✓", "ok"),
    "waits": ("…", "warning"),
    "refused": ("✗", "critical"),
}
CONSENT: Mapping[Consent, str] = {
    Consent.AUTO: "nobody has to approve it",
    Consent.ONE_APPROVAL: "one person must approve it",
    Consent.TWO_APPROVALS: "two people must approve it",
    Consent.FORBIDDEN: "the policy forbids it",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """By which it is judged, as they are now."""

    settings: Settings
    operators: Operators
    actions: Mapping[str, Action[Any]]

    def risk(self, run: Run) -> Risk | None:
        """None where nobody knows: there is no such action, or not with these parameters, any more."""
        action = self.actions.get(run.action)
        if action is None:
            return None
        try:
            return action.risk_of(action.parameters().model_validate(dict(run.parameters)))
        except ValidationError:
            return None

    def consent(self, run: Run) -> Consent | None:
        environment, risk = self.settings.environments.get(run.environment), self.risk(run)
        if environment is None or risk is None:
            return None
        return environment.policy.consent.of(risk, run.action)

    def harmful(self, run: Run) -> bool:
        """Whether people are asked twice; what nobody knows is."""
        risk = self.risk(run)
        return risk is None or risk in HARMFUL

    def refusal(self, run: Run, person: str, verb: str) -> str | None:
        """Why the person may not, in the words of the operators; None: may."""
        needed: Verb = "approve" if verb in {"approve", "reject"} else "request"
        said = self.operators.refusal(person, needed, run.environment, run.action, self.risk(run))
        consent = self.consent(run)
        if said is not None or verb != "approve" or consent is None:
            return said
        return objection(person, consent, requester_of(run), self.settings.actions)

    def verbs(self, run: Run, person: str | None) -> frozenset[str]:
        """What this person can do with the run as it stands."""
        if person is None:
            return frozenset()
        possible = {verb for verb, states in _VERBS.items() if run.state in states}
        if run.asked is not None:  # it is on its way
            possible -= {"pause", run.asked}
        return frozenset(verb for verb in possible if self.refusal(run, person, verb) is None)

    def approvers(self, run: Run, answers: Iterable[Answer]) -> list[str]:
        """The operators whose approval would count, without those who have answered."""
        answered = {one.person for one in answers if one.digest == run.digest}
        known = (name for name in self.operators.configured if name not in answered)
        return [name for name in known if self.refusal(run, name, "approve") is None]


def standing(run: Run) -> str:
    """Where it stands, in one word: its result once it has ended."""
    return (run.result or Result.FAILED).value if run.state is RunState.ENDED else run.state.value


def approved_by(run: Run, answers: Iterable[Answer]) -> list[str]:
    """Who has approved the plan as it is now."""
    return [one.person for one in answers if one.approved and one.digest == run.digest]


def place(run: Run) -> tuple[int, int] | None:
    """The step under way and how many there are: `(2, 5)`."""
    if run.plan is None or run.step is None or run.step not in run.plan.steps:
        return None
    return run.plan.steps.index(run.step) + 1, len(run.plan.steps)
