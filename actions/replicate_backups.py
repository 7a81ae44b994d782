"""Copy backups into the stores that hold further copies: what each of them keeps by its own retention, and lacks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._copies import copies, first_store, readable, retention_of
from fleet.backups import Manifest, read_manifest, read_manifests
from fleet.backups.damage import Inspection
from fleet.backups.replicate import replicate
from fleet.backups.retention import decide
from fleet.errors import ActionError, StoreError
from fleet.policy import Risk, Strict
from fleet.stores import Store

_TIMEOUT = timedelta(hours=12)  # less than garbage waits to be removed


class Parameters(Strict):
    store: str | None = Field(None, description="name of the store to fill; null: all that hold copies")


class ReplicateBackups(Action[Parameters]):
    """Only what is missing is sent; the manifest last, so that a copy is there whole or not at all."""

    name = "replicate_backups"
    summary = "copy backups into the other stores, as far as their retention keeps them"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("backups",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(databases=frozenset(), store=parameters.store)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        source_name, source = first_store(job)
        stores = copies(job, parameters.store)
        good = await _good(job, source)
        found, remark = await readable(job, stores)
        wanted = [
            {"id": manifest.id, "store": name, "from": source_name}
            for name, there in found.items()
            for manifest in _wanted(job, name, good, there)
        ]
        if not wanted:
            return Plan(f"every copy has what it keeps{remark}", (), _figures(wanted))
        return Plan(
            f"copy {len(wanted)} backup(s) from {source_name!r}{remark}",
            tuple(f"copy {one['id']} to {one['store']}" for one in wanted),
            _figures(wanted),
            tuple(wanted),
            tuple(f"copy {one['id']} from {one['from']} to {one['store']}" for one in wanted),
            "the copies hold what their retention keeps; objects that are there already are not sent again",
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_copy, job, one), timeout=_TIMEOUT)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        inspections: dict[str, Inspection] = {}
        problems: list[str] = []
        left: list[Object] = []
        for one in plan.objects:
            store = job.stores[one["store"]]
            inspection = inspections.setdefault(one["store"], Inspection(store, job.environment.name))
            there = {manifest.id: manifest for manifest in await read_manifests(store, job.environment.name)}
            damage = await inspection.find_damage(there[one["id"]]) if one["id"] in there else ["it is not there"]
            if damage:
                left.append(one)
                problems.append(f"{one['id']} in {one['store']}: {damage[0]}")
        if left:
            return Verdict(False, problems[0], _figures(left))
        return Verdict(True, f"{len(plan.objects)} backup(s) were copied, every object is there", _figures(left))


async def _good(job: Job, source: Store) -> list[Manifest]:
    try:
        return [one for one in await read_manifests(source, job.environment.name) if one.succeeded]
    except StoreError as error:
        raise ActionError(f"the backups cannot be read: {error.message}", hint=error.hint) from error


def _wanted(job: Job, name: str, good: Sequence[Manifest], there: Sequence[Manifest]) -> list[Manifest]:
    """What the copy would keep of all that is here and there, and lacks; newest first."""
    present = {manifest.id for manifest in there}
    union = {manifest.id: manifest for manifest in (*there, *good)}
    decisions = decide(union.values(), retention_of(job, name), job.now(), after_failure=False)
    kept = {one.id for one in decisions if one.keep}
    return [manifest for manifest in reversed(good) if manifest.id in kept - present]


async def _copy(job: Job, one: Object) -> Figures:
    source, target, name = job.stores[one["from"]], job.stores[one["store"]], job.environment.name
    manifest = await read_manifest(source, name, one["id"])

    def tell(done: int, total: int) -> None:
        job.progress(done / total if total else 1.0, f"copying {one['id']} to {one['store']}")

    copied = await replicate(source, target, manifest, tell)
    return {"objects": copied.objects, "bytes": copied.bytes}


def _figures(lacking: Sequence[Object]) -> Figures:
    return {"lacking": len(lacking)}
