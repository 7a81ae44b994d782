"""Waiting for a run: where the time is over first, the error says what became of the run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fleet.errors import StateAwayError
from tests.integration.engines import Daemon

_CALLS = """
    select id, status, execute_after - now() as due_in, heartbeat - now() as heard
    from pgqueuer where payload = convert_to($1, 'utf8') order by id
"""


@asynccontextmanager
async def explained(daemon: Daemon, run_id: str) -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError as error:
        with suppress(StateAwayError):
            error.add_note(await story(daemon, run_id))
        raise


async def story(daemon: Daemon, run_id: str) -> str:
    """All that there is to know of a run: how it stands, what was told, and its calls in the queue."""
    found = await daemon.people.run(run_id)
    run, now = found.run, daemon.world.now()
    lines = [
        f"run {run.id}: {run.state.value}, attempt {run.attempt} of {run.owner}, step {run.step}, deaths {run.deaths}",
        f"waits: {run.ground}, {run.parked!r}, for {(run.not_before or now) - now:.3f} s; outcome: {run.outcome!r}",
        f"in hands: {daemon.engine.running()}; state database away: {daemon.state.away}",
        *(
            f"step {step.name}: tries {step.tries}, attempt {step.attempt}, error {step.error!r}"
            for step in found.steps
        ),
        *(f"told {now - event.at:.3f} s ago: {event.title} {event.text!r}" for event in daemon.world.events),
        *(f"call {dict(row)}" for row in await daemon.sql(_CALLS, run_id)),
        *(f"ledger: {entry}" for entry in await daemon.entries(run)),
    ]
    return "\n".join(lines)
