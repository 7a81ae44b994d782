"""The decision: everything that stands in the way, the most final first."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.actions.guard._facts import Allowed, Case, Decision, Ground, Refused, Situation, Wait
from daemon.actions.guard._past import from_the_past
from daemon.actions.guard._turn import turn, window
from daemon.actions.guard._words import size
from fleet.policy import Consent


def decide(case: Case, situation: Situation) -> Decision:
    """Whether the action may run at `situation.now`."""
    return next(objections(case, situation), Allowed(situation.policy.consent.of(case.risk, case.request.action)))


def objections(case: Case, situation: Situation) -> Iterator[Refused | Wait]:
    """All that stands in the way, the most final first: what refuses it for good, for now, and what it waits for."""
    history = situation.history
    yield from _forbidden(case, situation)
    yield from _needless(case, situation)
    yield from _stopped(situation)
    if history is None:
        yield Refused(Ground.UNKNOWN, "what was done before cannot be read")
    else:
        yield from from_the_past(case, history, situation)
    yield from _disk(case, situation)
    yield from window(case, situation)
    if history is not None:
        yield from turn(case, history, situation)


def _forbidden(case: Case, situation: Situation) -> Iterator[Refused]:
    environment, refusal = case.request.environment, situation.operator_refusal
    if situation.policy.consent.of(case.risk, case.request.action) is Consent.FORBIDDEN:
        yield Refused(Ground.FORBIDDEN, f"the policy of {environment} forbids {case.risk.value} actions")
    if refusal is not None:
        yield Refused(Ground.NOT_ALLOWED, refusal)


def _needless(case: Case, situation: Situation) -> Iterator[Refused]:
    if situation.alert_active is False:
        name = (case.request.alert or {}).get("alertname", "that asked")
        yield Refused(Ground.NO_LONGER_NEEDED, f"the alert {name} has ended, so nothing has to be done any more")


def _stopped(situation: Situation) -> Iterator[Refused]:
    switch = situation.switch
    if switch is None:
        yield Refused(Ground.UNKNOWN, "whether actions are stopped cannot be read")
    elif switch.stopped:
        by, why = (f", by {switch.by}" if switch.by else ""), (f": {switch.reason}" if switch.reason else "")
        yield Refused(Ground.STOPPED, f"all actions are stopped{by}{why}")


def _disk(case: Case, situation: Situation) -> Iterator[Refused]:
    """After the action, as much must be free as the policy wants."""
    needed, free, total = situation.disk_needed, situation.disk_free, situation.disk_total
    ratio, where = situation.policy.disk_free_ratio, f"the disk of {case.request.environment}"
    if needed <= 0:
        return
    if free is None or (total is None and ratio > 0):
        what = "how much is free there" if free is None else "how large it is"
        yield Refused(Ground.DISK_FULL, f"needs {size(needed)} on {where}, and {what} is unknown")
        return
    reserve = ratio * (total or 0)
    if not free - needed >= reserve:  # what is no number is a no, too
        kept = f", of which {size(reserve)} ({ratio:.0%}) must stay free" if reserve else ""
        yield Refused(Ground.DISK_FULL, f"needs {size(needed)} on {where}, which has {size(free)} free{kept}")
