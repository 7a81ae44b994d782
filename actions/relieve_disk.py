"""Make room on a disk that fills: rank what would free how much at what risk, drop what nobody needs, ask for the rest.

What is asked for are runs of their own: the guard and people decide on each as on any other. It is asked in the order
of the ranking, and for no more than what is short of the promised room; what needs room itself is only told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._disk_free import fullest
from actions._disk_relief import Relief, find_relief
from actions._index_build import drop_concurrently
from actions._invalid_indexes import invalid_indexes
from actions._left_overs import drop_left_over
from actions._vector_build import at_work
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TRIES = 5
_TOLD = 5  # in a sentence; the plan has all
_MOST_ASKED = 20


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    least_bytes: int = Field(10 * 2**20, ge=0, description="what frees less is not told, in bytes")
    ask: bool = Field(True, description="ask for the actions that free what is short; else they are only told")


class RelieveDisk(Action[Parameters]):
    """Only left-overs that nobody needs go by its own hand. A full disk waits for no window."""

    name = "relieve_disk"
    summary = "rank what would free room on the disk, drop left-overs, and ask for what frees the rest"
    risk = Risk.GUARDED
    subjects: ClassVar[tuple[str, ...]] = ("disks", "indexes", "sizes")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # a drop would wait for the dump's lock
    windowed = False

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target("", None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        ranked, unknown = await find_relief(job, parameters.datname, parameters.least_bytes)
        own = [one for one in ranked if one.own is not None]
        wanted = await _wanted(job, ranked) if parameters.ask else []
        told = [one for one in ranked if one.own is None and one not in wanted]
        could_not = f"; not looked at: {', '.join(unknown)}" if unknown else ""
        size = sum(one.bytes for one in own)
        does = f"drop {len(own)} left-over(s) of {size / 2**20:.1f} MiB" if own else "nothing can go by itself"
        asks = f"; ask for {_listed(wanted)}" if wanted else ""
        return Plan(
            f"{does}{asks}; {_to_decide(told, bool(wanted))}{could_not}",
            (*(_step_name(one) for one in own), *(f"ask for {one.command}" for one in wanted)),
            await _figures(job, ranked),
            (*(one.own.object for one in own if one.own), *(_request(one) for one in wanted)),
            tuple(one.command for one in (*own, *wanted)),
            "reads and writes go on. " + "\n".join(["Ranked, the least risky first:", *map(str, ranked)]),
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_do, job, one), tries=_TRIES) for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        ranked, _ = await find_relief(job, parameters.datname, parameters.least_bytes)
        figures = await _figures(job, ranked)
        left = [one for one in ranked if one.own is not None and one.own.object in plan.objects]
        if left:
            return Verdict(False, f"still there: {left[0].what}", figures)
        asked = list(job.data.get("asked", {}).values())
        requests = [(one["action"], one["parameters"]) for one in plan.objects if "action" in one]
        told = [one for one in ranked if one.own is None and one.request not in requests]
        rest = "; ".join([*asked, _to_decide(told, bool(asked))])
        usage = await fullest(job)
        if usage is None:
            return Verdict(False, f"how much is free is unknown, as no disk source tells; {rest}", figures)
        free, size = usage
        promised = job.environment.policy.disk_free_ratio
        room = f"{free / 2**30:.1f} GiB are free ({free / size:.1%})"
        if free / size < promised:
            return Verdict(False, f"{room}, less than the promised {promised:.0%}; {rest}", figures)
        return Verdict(True, "; ".join([room, *asked]), figures)


async def _wanted(job: Job, ranked: Sequence[Relief]) -> list[Relief]:
    """What is asked for: in order, until what is short is there; where nobody knows what is short, nothing."""
    usage = await fullest(job)
    if usage is None:
        return []
    free, size = usage
    short = job.environment.policy.disk_free_ratio * size - free
    short -= sum(one.bytes for one in ranked if one.own is not None)
    wanted = []
    for one in ranked:
        if one.request is not None and short > 0:
            wanted.append(one)
            short -= one.bytes if one.at_once else 0.0
    return wanted[:_MOST_ASKED]


def _request(one: Relief) -> Object:
    action, parameters = one.request or ("", {})
    return {"action": action, "parameters": dict(parameters)}


def _step_name(one: Relief) -> str:
    return f"drop {one.index.datname}: {one.index.quoted}" if one.index else f"drop {one.what.partition(',')[0]}"


def _listed(reliefs: Sequence[Relief]) -> str:
    more = f"; and {len(reliefs) - _TOLD} more" if len(reliefs) > _TOLD else ""
    return "; ".join(map(str, reliefs[:_TOLD])) + more


def _to_decide(told: Sequence[Relief], asked: bool) -> str:
    """What people have to decide."""
    if told:
        return f"to decide: {_listed(told)}"
    return "there is nothing else to free" + ("" if asked else ": enlarge the disk")


async def _do(job: Job, planned: Object) -> Figures:
    if "action" in planned:
        return await _ask(job, planned)
    if "left_over" in planned:
        return await drop_left_over(job, planned)
    return await _drop(job, planned)


async def _ask(job: Job, planned: Object) -> Figures:
    """Where it cannot be asked for, people are told; the rest goes on."""
    action, parameters = planned["action"], planned["parameters"]
    if job.ask is None:
        raise ActionError("nobody can be asked")
    try:
        run_id = await job.ask(action, parameters, "to make room on the disk")
    except ActionError as error:
        said, figures = f"could not ask for {action}: {error.message}", {"refused": error.message}
    else:
        said, figures = f"asked for {action} (run {run_id})", {"asked_run": run_id}
    name = json.dumps([action, parameters], sort_keys=True)
    job.data["asked"] = {**job.data.get("asked", {}), name: said}
    return figures


async def _drop(job: Job, planned: Object) -> Figures:
    """Look once more, then drop; what an earlier attempt dropped is well."""
    async with at_work(job, planned) as connection:
        found = [
            index
            for index in await invalid_indexes(connection, planned["datname"], oids=[planned["oid"]])
            if index.object == planned
        ]
        if not found:
            return {"skipped": "it is not there any more, or another one by now"}
        if found[0].obstacle:
            raise ActionError(f"{found[0].quoted} {found[0].obstacle}", hint="look again when that is over")
        await drop_concurrently(connection, found[0].quoted)
    return {"dropped": found[0].quoted, "definition": found[0].definition, "bytes": found[0].bytes}


async def _figures(job: Job, ranked: Sequence[Relief]) -> Figures:
    usage = await fullest(job)
    free = {} if usage is None else {"free_bytes": usage[0], "free_ratio": usage[0] / usage[1]}
    left_overs = [one for one in ranked if one.own is not None]
    return {
        "left_overs": len(left_overs),
        "left_over_bytes": sum(one.bytes for one in left_overs),
        "to_decide_bytes": sum(one.bytes for one in ranked if one.own is None and one.at_once),
        **free,
    }
