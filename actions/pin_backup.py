"""Keep a backup whatever the policy says, or give it back to the policy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._copies import all_stores, readable
from fleet.backups import Pin, read_manifest, write_pin
from fleet.errors import ActionError
from fleet.policy import Risk, Strict


class Parameters(Strict):
    id: str = Field(description="the backup")
    reason: str = Field("", description="why it is kept; for people")
    unpin: bool = Field(False, description="take the pin away")


class PinBackup(Action[Parameters]):
    """In every store that holds the backup."""

    name = "pin_backup"
    summary = "pin a backup, so that no retention removes it, or take its pin away"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("backups",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(parameters.id, databases=frozenset())

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found, remark = await readable(job, all_stores(job))
        holding = {
            store: manifest
            for store, manifests in found.items()
            for manifest in manifests
            if manifest.id == parameters.id
        }
        if not holding:
            raise ActionError(f"no store has a backup {parameters.id!r}", hint="custode backups list tells which are")
        verb = "unpin" if parameters.unpin else "pin"
        stores = [store for store, manifest in holding.items() if (manifest.pin is None) != parameters.unpin]
        return Plan(
            f"{verb} {parameters.id} in {len(stores)} store(s){remark}",
            tuple(f"{verb} {parameters.id} in {store}" for store in stores),
            {"pins": sum(manifest.pin is not None for manifest in holding.values())},
            tuple({"id": parameters.id, "store": store} for store in stores),
            tuple(f"{verb} {parameters.id} in {store}" for store in stores),
            "its retention decides again"
            if parameters.unpin
            else "no retention removes it until the pin is taken away",
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_pin, job, parameters, one)) for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        found, _ = await readable(job, all_stores(job))
        pinned = {name for name, manifests in found.items() for one in manifests if one.id == parameters.id and one.pin}
        figures = {"pins": len(pinned)}
        wrong = [one["store"] for one in plan.objects if (one["store"] in pinned) == parameters.unpin]
        if wrong:
            return Verdict(
                False, f"{parameters.id} is {'still' if parameters.unpin else 'not'} pinned in {wrong[0]}", figures
            )
        return Verdict(True, f"{parameters.id} is {'no longer' if parameters.unpin else 'now'} pinned", figures)


async def _pin(job: Job, parameters: Parameters, one: Object) -> Figures:
    store = job.stores[one["store"]]
    manifest = await read_manifest(store, job.environment.name, one["id"])
    pin = None if parameters.unpin else Pin(at=job.now(), by=f"run {job.run_id}", reason=parameters.reason)
    await write_pin(store, manifest, pin)
    return {"store": one["store"]}
