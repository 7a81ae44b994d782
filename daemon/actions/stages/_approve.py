"""Approve: where the policy asks for people, wait for enough of them to agree to exactly this plan."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions import runs
from daemon.actions.approvals import Approved, Expired, Pending, Rejected, judge_answers, needed_for
from daemon.actions.events import Happened
from daemon.actions.ledger import Entry
from daemon.actions.request import Result
from daemon.actions.turn import Asked, Stop, Turn, cancelled, ended
from daemon.actions.views import Answer, Run, requester_of
from fleet.policy import Consent


async def approve(turn: Turn) -> Stop | None:
    run = turn.run
    consent = turn.environment.policy.consent.of(turn.meant.risk, turn.run.action)
    if run.begun_at is not None or needed_for(consent) == 0 or not turn.plan.steps:
        return None
    async with turn.means.state.begin() as connection:
        if (by_hand := await cancelled(turn, connection)) is not None:
            return by_hand
        answers = await runs.answers(connection, run.id)
        match standing(turn, run, answers, consent):
            case Approved():
                return None
            case Rejected(by=by, reason=reason):
                return ended(turn, Result.REFUSED, f"rejected by {by}" + (f": {reason}" if reason else ""))
            case Expired():
                return ended(turn, Result.REFUSED, "nobody answered in time")
            case Pending(needed=needed):
                await _ask(turn, connection, needed)
    turn.tell(Happened.ASKED, turn.plan.summary, turn.plan.figures)
    return Asked()


def standing(turn: Turn, run: Run, answers: list[Answer], consent: Consent) -> Approved | Rejected | Expired | Pending:
    return judge_answers(
        consent,
        run.digest or "",
        answers,
        requester=requester_of(run),
        now=turn.means.now(),
        expires_at=run.expires_at,
        limits=turn.means.limits(),
    )


async def _ask(turn: Turn, connection: AsyncConnection, needed: int) -> None:
    expires = turn.run.expires_at or turn.means.now() + turn.means.limits().approval_expires.total_seconds()
    values = {
        "state": "waiting",
        "approvals_needed": needed,
        "expires_at": expires,
        "owner": None,
        "ground": None,
        "parked": None,
    }
    turn.run = await runs.write(connection, turn.run, **values)
    await turn.record(connection, Entry.ASKED, needed=needed, digest=turn.run.digest, expires_at=expires)
