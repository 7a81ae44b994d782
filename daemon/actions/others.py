"""What a run may know of other runs, and what it may ask for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from daemon.actions import runs
from daemon.actions.ledger import clean
from daemon.actions.request import Request, Source
from daemon.actions.views import Run, Submitted
from daemon.state import StateDatabase
from fleet.errors import ActionError

Submit = Callable[[Request], Awaitable[Submitted]]
_KEY = "run:"


def follow_up(run: Run, action: str, parameters: Mapping[str, Any], reason: str, at: float) -> Request:
    """What `run` asks for: by the person who asked for it, else by itself, for the sender of its alert.

    One key, however often it asks.

    Raises:
        ActionError: it was asked for by a run itself: nothing grows without an end.
    """
    if run.source is Source.RUN or run.key.startswith(_KEY):
        raise ActionError(f"{run.action} was asked for by another run, and may not ask for more")
    said = json.dumps(clean(parameters), sort_keys=True)
    by_person = run.source is Source.PERSON
    return Request(
        environment=run.environment,
        action=action,
        key=f"{_KEY}{run.id}:{action}:{hashlib.sha256(said.encode()).hexdigest()[:16]}",
        requested_by=run.requested_by if by_person else f"run {run.id}",
        at=at,
        source=Source.PERSON if by_person else Source.RUN,
        reason=f"{reason} ({run.action}, run {run.id})",
        parameters=parameters,
        sender=run.sender,
    )


async def ended_among(state: StateDatabase, ids: Collection[str]) -> Collection[str]:
    """Which of the runs of these ids have come to their end. Raises StateAwayError."""
    async with state.begin(durable=False) as connection:
        return await runs.ended_among(connection, ids)
