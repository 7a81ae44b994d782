"""A dry run: what the guard would say to a request, and the plan. Nothing is changed, not even on record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import asyncpg

from daemon.actions.approvals import digest
from daemon.actions.asking import understand
from daemon.actions.guard import Allowed, Decision, Refused, Wait
from daemon.actions.means import Means
from daemon.actions.others import ended_among
from daemon.actions.request import Request
from daemon.actions.stages._apply import describe
from daemon.actions.stages._guard import judge
from daemon.actions.stages._plan import PLAN_SECONDS
from daemon.actions.turn import Turn
from daemon.actions.views import Preview, Run, RunState
from fleet.errors import ActionError


async def preview(means: Means, request: Request) -> Preview:
    """Raises ActionError where it cannot be planned, NotPossibleError where it makes no sense."""
    meant = understand(means, request.action, request.environment, request.parameters)
    action, environment = meant.action, meant.environment
    run = Run(
        id="dry-run",
        key=request.key,
        source=request.source,
        environment=request.environment,
        action=request.action,
        object=meant.target.object,
        parameters=request.parameters,
        requested_by=request.requested_by,
        requested_at=request.at,
        reason=request.reason,
        alert=request.alert,
        sender=request.sender,
        state=RunState.QUEUED,
    )
    job = means.world.job(run, environment, lambda _ratio, _doing: None, _nothing_may_change)
    turn = Turn(run, meant, replace(job, ended=partial(ended_among, means.state)), means)
    try:
        async with asyncio.timeout(PLAN_SECONDS):
            plan = await action.plan(job, meant.parameters)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise ActionError(f"it cannot be planned: {describe(error)}") from error
    async with means.state.begin() as connection:
        decision = await judge(turn, connection, disk_needed=plan.disk_bytes)
    said, reason = _words(decision)
    return Preview(
        environment=request.environment,
        action=request.action,
        risk=meant.risk.value,
        parameters=meant.parameters.model_dump(mode="json"),
        decision=said,
        reason=reason,
        consent=environment.policy.consent.of(meant.risk, request.action).value,
        plan=plan,
        digest=digest(request.environment, request.action, request.parameters, plan),
    )


def _words(decision: Decision) -> tuple[str, str]:
    match decision:
        case Allowed():
            return "allowed", "nothing speaks against it"
        case Wait(reason=reason):
            return "waits", reason
        case Refused(reason=reason):
            return "refused", reason


async def _nothing_may_change() -> None:
    raise ActionError("this is a dry run: nothing may be changed")
