"""Make room on a disk that fills: rank what would free how much at what risk, do what is safe, and ask for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._disk_free import fullest
from actions._disk_relief import Relief, find_relief
from actions._index_build import drop_concurrently
from actions._invalid_indexes import invalid_indexes
from actions._vector_build import at_work
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TRIES = 5
_ASKED = 5  # told in a sentence; the plan has all


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    least_bytes: int = Field(10 * 2**20, ge=0, description="what frees less is not told, in bytes")


class RelieveDisk(Action[Parameters]):
    """Only left-overs that nobody needs go by themselves. A full disk waits for no window."""

    name = "relieve_disk"
    summary = "rank what would free room on the disk, drop left-overs, and say how to free the rest"
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
        dropped = [one.index for one in ranked if one.index is not None]
        asked = [one for one in ranked if one.index is None]
        could_not = f"; not looked at: {', '.join(unknown)}" if unknown else ""
        size = sum(index.bytes for index in dropped)
        does = f"drop {len(dropped)} left-over(s) of {size / 2**20:.1f} MiB" if dropped else "nothing can go by itself"
        return Plan(
            f"{does}; {_asked(asked)}{could_not}",
            tuple(f"drop {index.datname}: {index.quoted}" for index in dropped),
            await _figures(job, ranked),
            tuple(index.object for index in dropped),
            tuple(one.command for one in ranked if one.index is not None),
            "reads and writes go on. " + "\n".join(["Ranked, the least risky first:", *map(str, ranked)]),
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_drop, job, one), tries=_TRIES)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        ranked, _ = await find_relief(job, parameters.datname, parameters.least_bytes)
        figures = await _figures(job, ranked)
        planned = {(one["datname"], one["oid"]) for one in plan.objects}
        left = [one.index for one in ranked if one.index and (one.index.datname, one.index.oid) in planned]
        asked = _asked([one for one in ranked if one.index is None])
        if left:
            return Verdict(False, f"{left[0].quoted} is still there", figures)
        usage = await fullest(job)
        if usage is None:
            return Verdict(False, f"how much is free is unknown, as no disk source tells; {asked}", figures)
        free, size = usage
        promised = job.environment.policy.disk_free_ratio
        told = f"{free / 2**30:.1f} GiB are free ({free / size:.1%})"
        if free / size < promised:
            return Verdict(False, f"{told}, less than the promised {promised:.0%}; {asked}", figures)
        return Verdict(True, told, figures)


def _asked(asked: Sequence[Relief]) -> str:
    """What people have to decide."""
    if not asked:
        return "there is nothing else to free: enlarge the disk"
    more = f"; and {len(asked) - _ASKED} more" if len(asked) > _ASKED else ""
    return f"to decide: {'; '.join(map(str, asked[:_ASKED]))}{more}"


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
    left_overs = [one for one in ranked if one.index is not None]
    return {
        "left_overs": len(left_overs),
        "left_over_bytes": sum(one.bytes for one in left_overs),
        "to_decide_bytes": sum(one.bytes for one in ranked if one.index is None and one.at_once),
        **free,
    }
