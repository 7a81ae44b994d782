"""Look whether stored backups are what their manifests say; read every byte of them where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._copies import all_stores, readable
from fleet.backups import Manifest, read_manifest
from fleet.backups.damage import Inspection
from fleet.backups.pool import read_damaged, write_damaged
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)


class Parameters(Strict):
    id: str | None = Field(None, description="the backup; null: all good ones")
    store: str | None = Field(None, description="name of the store; null: every one that holds it")
    read_data: bool = Field(False, description="read all, compare checksums and rows; false: see what is there")


class VerifyBackups(Action[Parameters]):
    """Notes what is damaged, so that the next backup stores it anew. That something could not be read is no success."""

    name = "verify_backups"
    summary = "find missing and damaged objects of stored backups"
    risk = Risk.READ

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(parameters.id or "", databases=frozenset(), store=parameters.store)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found, remark = await readable(job, all_stores(job, parameters.store))
        chosen = [
            (store, manifest)
            for store, manifests in found.items()
            for manifest in manifests
            if _is_meant(manifest, parameters)
        ]
        if parameters.id is not None and not chosen:
            raise ActionError(f"no store has a backup {parameters.id!r}", hint="custode backups list tells which are")
        how = "read" if parameters.read_data else "look at"
        return Plan(
            f"{how} {len(chosen)} backup(s){remark}",
            tuple(f"{how} {manifest.id} in {store}" for store, manifest in chosen),
            {"backups": len(chosen)},
            tuple({"id": manifest.id, "store": store} for store, manifest in chosen),
            tuple(f"{how} {manifest.id} in {store}" for store, manifest in chosen),
            "what is damaged is told, and stored anew by the next backup that needs it",
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        inspections = {
            name: Inspection(
                store,
                job.environment.name,
                job.client_tools,
                read_data=parameters.read_data,
                tell=partial(_tell, job, name),
            )
            for name, store in job.stores.items()
        }
        return [
            Step(name, partial(_inspect, job, one, inspections[one["store"]]), timeout=_TIMEOUT)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        results = {_name(one): job.data.get(_name(one)) for one in plan.objects}
        unknown = [name for name, damage in results.items() if damage is None]
        damaged = [f"{name}: {damage[0]}" for name, damage in results.items() if damage]
        figures: dict[str, float | str] = {
            "backups": len(results),
            "damaged": len(damaged),
            "sound": len(results) - len(damaged) - len(unknown),
        }
        if unknown:
            return Verdict(False, f"{unknown[0]} was not looked at", figures)
        if damaged:
            return Verdict(False, "; ".join(damaged), figures)
        return Verdict(True, f"nothing is missing or damaged in {len(results)} backup(s)", figures)


def _is_meant(manifest: Manifest, parameters: Parameters) -> bool:
    return manifest.succeeded if parameters.id is None else manifest.id == parameters.id


def _tell(job: Job, store: str, size: int) -> None:
    job.progress(0.0, f"{size / 1e6:.0f} MB read from {store}")


async def _inspect(job: Job, one: Object, inspection: Inspection) -> Figures:
    before = inspection.bytes_read
    manifest = await read_manifest(job.stores[one["store"]], job.environment.name, one["id"])
    damage = await inspection.find_damage(manifest)
    if inspection.damaged:
        noted = await read_damaged(job.stores[one["store"]], job.environment.name)
        if not inspection.damaged <= noted:
            await write_damaged(job.stores[one["store"]], job.environment.name, noted | inspection.damaged)
    job.data[_name(one)] = damage
    return {"problems": len(damage), "bytes_read": inspection.bytes_read - before}


def _name(one: Object) -> str:
    return f"{one['id']} in {one['store']}"
