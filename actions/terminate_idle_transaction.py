"""End sessions that have left a transaction open and do nothing in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._idle import IdleSession, hidden_sessions, idle_sessions, is_alive, terminate
from fleet.durations import Duration
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_LOOKS, _LOOK_SECONDS = 200, 0.05


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the server")
    pid: int | None = Field(None, ge=1, description="the server process; null: every one that is idle long enough")
    idle_for: Duration = Field(timedelta(minutes=15), description="end what has asked for nothing for longer")
    applications: tuple[str, ...] | None = Field(None, description="only sessions of these names; null: any")


class TerminateIdleTransaction(Action[Parameters]):
    """A session is known by its process and by when it and its transaction began, so never is another one hit."""

    name = "terminate_idle_transaction"
    summary = "end sessions that have been idle in a transaction for too long"
    risk = Risk.GUARDED
    subjects: ClassVar[tuple[str, ...]] = ("activity",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        databases = None if parameters.datname is None else frozenset({parameters.datname})
        return Target("" if parameters.pid is None else f"pid {parameters.pid}", databases)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found = await _find(job, parameters)
        meant = [session for session in found if session.permitted]
        if found and not meant:
            raise ActionError(
                f"the role of {job.environment.name} may not end the {found[0]}",
                hint="grant it pg_signal_backend; sessions of superusers only a superuser can end",
            )
        others = f"; {len(found) - len(meant)} more are not ours to end" if len(found) > len(meant) else ""
        if not meant:
            return Plan("no transaction has been idle for so long", (), _figures(meant))
        return Plan(
            f"end the {'; the '.join(map(str, meant))}{others}",
            tuple(f"terminate {session.pid}" for session in meant),
            _figures(meant),
            tuple(session.object for session in meant),
            tuple(f"SELECT pg_terminate_backend({session.pid})" for session in meant),
            "their transactions are rolled back, their locks are free, VACUUM gets on; their clients get an error",
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_terminate, job, one, parameters.idle_for), timedelta(minutes=1))
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        async with job.connections.acquire() as connection:
            open_ones = [one for one in plan.objects if await is_alive(connection, one)]
        left = [session for session in await _find(job, parameters) if session.object in open_ones]
        if open_ones:
            return Verdict(False, f"the transaction of session {open_ones[0]['pid']} is still open", _figures(left))
        return Verdict(True, f"{len(plan.objects)} transaction(s) are gone", _figures(left))


async def _find(job: Job, parameters: Parameters) -> list[IdleSession]:
    """Raises ActionError where our role can see too little to tell."""
    async with job.connections.acquire() as connection:
        found = await idle_sessions(
            connection, parameters.idle_for, parameters.datname, parameters.pid, parameters.applications
        )
        if not found and (hidden := await hidden_sessions(connection, parameters.datname)):
            raise ActionError(
                f"the role of {job.environment.name} cannot see what {hidden} session(s) do",
                hint="grant it pg_monitor to see them, and pg_signal_backend to end them",
            )
    return found


async def _terminate(job: Job, planned: Object, idle_for: timedelta) -> Figures:
    async with job.changes.acquire() as connection:
        told = await terminate(connection, planned, idle_for)
        if told:
            for _ in range(_LOOKS):  # it ends by itself, a moment later
                if not await is_alive(connection, planned):
                    break
                await asyncio.sleep(_LOOK_SECONDS)
    return {"terminated": float(told)}


def _figures(sessions: Sequence[IdleSession]) -> Figures:
    return {
        "idle_transactions": len(sessions),
        "longest_idle_seconds": max((session.idle_seconds for session in sessions), default=0.0),
    }
