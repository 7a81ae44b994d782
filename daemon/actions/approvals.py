"""Whether enough people agree: a pure function of their answers to one plan, which a digest names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

from actions import Plan
from daemon.actions.views import Answer
from daemon.config import Limits
from fleet.policy import Consent


@dataclass(frozen=True, slots=True)
class Approved:
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    pass


@dataclass(frozen=True, slots=True)
class Pending:
    """`needed` people in all have to approve; `given` have."""

    needed: int
    given: tuple[str, ...]


Standing = Approved | Rejected | Expired | Pending


def digest(environment: str, action: str, parameters: Mapping[str, Any], plan: Plan) -> str:
    """What an approval is bound to: what is done, to what, where; neither the figures nor the words around it.

    Raises:
        TypeError: parameters or objects of the plan are no JSON.
        ValueError: a number in them is infinite or none.
    """
    content = {
        "action": action,
        "environment": environment,
        "parameters": dict(parameters),
        "steps": plan.steps,
        "commands": plan.commands,
        "objects": [dict(each) for each in plan.objects],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def needed_for(consent: Consent) -> int:
    """How many people must approve. Raises ValueError for what is forbidden: nobody can allow it."""
    match consent:
        case Consent.AUTO:
            return 0
        case Consent.ONE_APPROVAL:
            return 1
        case Consent.TWO_APPROVALS:
            return 2
        case Consent.FORBIDDEN:
            raise ValueError("nobody can approve what the policy forbids")
        case _:
            assert_never(consent)


def objection(person: str, consent: Consent, requester: str | None, limits: Limits) -> str | None:
    """Why an approval of this person would not count; None: it would. Anybody's rejection counts."""
    if consent is Consent.FORBIDDEN:
        return "nobody can approve what the policy forbids"
    if person != requester:
        return None
    if needed_for(consent) > 1:
        return f"{person} asked for this, and two other people must approve it"
    if not limits.self_approval:
        return f"{person} asked for this, and another person must approve it"
    return None


def judge_answers(
    consent: Consent,
    digest: str,
    answers: Iterable[Answer],
    *,
    requester: str | None,
    now: float,
    expires_at: float | None,
    limits: Limits,
) -> Standing:
    """Where the approval of the plan `digest` stands at `now`.

    `requester` is the person who asked, None where none did. Only the first answer of a person counts, only to this
    plan, only before `expires_at` (None: not yet asked). A rejection decides at once, and so does the last approval
    that is needed: answers after it change nothing, and it does not expire.
    """
    if consent is Consent.FORBIDDEN:  # by now; it was not when people were asked
        return Rejected("the policy", "it forbids this")
    needed, given = needed_for(consent), list[str]()
    if needed == 0:
        return Approved(())
    for answer in sorted(answers, key=lambda answer: answer.at):
        late = expires_at is not None and answer.at >= expires_at
        if late or answer.digest != digest or answer.person in given:
            continue
        if not answer.approved:
            return Rejected(answer.person, answer.reason)
        if objection(answer.person, consent, requester, limits) is None:
            given.append(answer.person)
        if len(given) == needed:
            return Approved(tuple(given))
    if expires_at is not None and now >= expires_at:
        return Expired()
    return Pending(needed, tuple(given))
