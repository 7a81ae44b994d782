"""Plan: look at the world and say what would be done. Before anybody is asked, and again before it is done."""

from __future__ import annotations

import asyncio

from daemon.actions import runs
from daemon.actions.approvals import digest
from daemon.actions.events import Happened
from daemon.actions.ledger import Entry
from daemon.actions.turn import Stop, Turn

PLAN_SECONDS = 120.0


async def plan(turn: Turn) -> Stop | None:
    run = turn.run
    if run.begun_at is not None:
        return None
    async with asyncio.timeout(PLAN_SECONDS):
        found = await turn.action.plan(turn.job, turn.parameters)
    bound = digest(run.environment, run.action, run.parameters, found)
    changed = run.digest is not None and run.digest != bound
    # lost in a crash of the state database, it is made anew; a question to people waits for the disk
    async with turn.means.state.begin(durable=False) as connection:
        # who is asked anew has the whole time to answer
        anew = {"expires_at": None} if changed else {}
        turn.run = await runs.write(connection, run, plan=runs.plan_json(found), digest=bound, **anew)
        if run.digest != bound:
            facts = {"summary": found.summary, "steps": found.steps, "commands": found.commands}
            more = {"figures": found.figures, "objects": found.objects, "digest": bound, "changed": changed}
            await turn.record(connection, Entry.PLAN, **facts, **more)
    if run.digest != bound:
        turn.tell(Happened.PLANNED, found.summary, found.figures)
    return None
