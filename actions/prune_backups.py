"""Remove the backups that the policy keeps no longer, and the objects that only they needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar, TypeAlias

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._copies import all_stores, first_store, readable, retention_of
from fleet.backups import KnownManifests, Manifest, read_manifests
from fleet.backups.garbage import Survey, condemn, remove_backup, survey, sweep
from fleet.backups.manifest import ROOT, pool_prefixes
from fleet.backups.retention import AFTER_FAILURE, SERIES, Decision, decide, newest_failed
from fleet.errors import ActionError, StoreError
from fleet.policy import Risk, Strict
from fleet.stores import Store

_TIMEOUT = timedelta(hours=6)  # garbage on the list waits longer

Known: TypeAlias = defaultdict[str, KnownManifests]  # by store


class Parameters(Strict):
    store: str | None = Field(None, description="name of the store; null: the first and all copies")


class PruneBackups(Action[Parameters]):
    """Never the last good one, the newest proven one, a pinned one; nothing after a failed run, see fleet.backups."""

    name = "prune_backups"
    summary = "remove the backups that no retention series keeps, and the objects that only they needed"
    risk = Risk.SAFE
    subjects: ClassVar[tuple[str, ...]] = ("backups",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return Target(databases=frozenset(), store=parameters.store)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        after_failure = await _after_failure(job)
        stores = all_stores(job, parameters.store)
        found, remark = await readable(job, stores)
        steps: list[str] = []
        objects: list[Object] = []
        for name, manifests in found.items():
            decisions = _decide(job, name, manifests, after_failure=after_failure)
            removed = [one.id for one in decisions if not one.keep]
            looked = await survey(stores[name], job.environment.name, job.now(), removed)
            objects += [_object(name, one) for one in decisions]
            steps += _steps(name, removed, looked)
        removed_ids = [one for one in objects if not one["keep"]]
        halted = f"; {AFTER_FAILURE}" if after_failure else ""
        return Plan(
            f"remove {len(removed_ids)} of {len(objects)} backup(s){halted}{remark}",
            tuple(steps),
            await _figures(job, {name: stores[name] for name in found}, found),
            tuple(objects),
            tuple(f"remove {one['id']} from {one['store']}: {one['why']}" for one in removed_ids),
            _effect(objects),
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        works = {"list": _list, "remove": _remove, "sweep": _sweep}
        made = []
        for step in plan.steps:
            verb, _, _, name = step.split(" ", 3)
            planned = frozenset(one["id"] for one in plan.objects if one["store"] == name and not one["keep"])
            made.append(Step(step, partial(works[verb], job, name, planned), timeout=_TIMEOUT))
        return made

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        planned = {one["store"] for one in plan.objects} | {step.split(" ", 3)[3] for step in plan.steps}
        stores = {name: store for name, store in all_stores(job, parameters.store).items() if name in planned}
        found, _ = await readable(job, stores)
        figures = await _figures(job, stores, found)
        after_failure = await _after_failure(job)
        for name, manifests in found.items():
            removed = {one["id"] for one in plan.objects if one["store"] == name and not one["keep"]}
            decisions = _decide(job, name, manifests, after_failure=after_failure)
            left = [one.id for one in decisions if one.id in removed and not one.keep]
            refused = job.data.get(f"refused {name}")
            why = f": {refused}" if refused else ""
            if left:
                return Verdict(
                    False, f"{len(left)} backup(s) are still in {name}, the first is {left[0]}{why}", figures
                )
            if refused or (await survey(stores[name], job.environment.name, job.now())).doomed:
                return Verdict(False, f"objects that no backup needs are still in {name}{why}", figures)
        return Verdict(True, f"{sum(not one['keep'] for one in plan.objects)} backup(s) are gone", figures)


def _steps(name: str, removed: Sequence[str], looked: Survey) -> list[str]:
    if not removed and not looked.due:
        return []
    removing = [f"remove backups from {name}"] if removed else []
    return [f"list garbage of {name}", *removing, f"sweep garbage of {name}"]


def _object(store: str, decision: Decision) -> Object:
    return {
        "store": store,
        "id": decision.id,
        "keep": decision.keep,
        "why": "; ".join(decision.reasons),
        "tiers": list(decision.tiers),
    }


def _effect(objects: Iterable[Object]) -> str:
    kept = [one for one in objects if one["keep"]]
    tiers = Counter(tier for one in kept for tier in one["tiers"])
    by_tier = ", ".join(f"{tiers[tier]} {tier}" for tier in SERIES if tiers[tier])
    return f"{len(kept)} backup(s) stay ({by_tier or 'by no series'}); what was removed cannot be restored any more"


async def _after_failure(job: Job, known: KnownManifests | None = None) -> bool:
    """Whether the newest run failed. Raises ActionError where that is unknown: nothing may be removed anywhere then."""
    name, store = first_store(job)
    try:
        return newest_failed(await read_manifests(store, job.environment.name, known), job.now())
    except StoreError as error:
        raise ActionError(
            f"the store {name!r} cannot be read: {error.message}", hint="nothing is removed from the copies either"
        ) from error


def _decide(job: Job, name: str, manifests: Sequence[Manifest], *, after_failure: bool) -> list[Decision]:
    return decide(manifests, retention_of(job, name), job.now(), after_failure=after_failure)


async def _still(job: Job, name: str, planned: frozenset[str], known: Known | None = None) -> list[str]:
    """Those of the planned ones that may go now, oldest first: one may have been pinned since.

    `known` is what earlier calls read of each store.
    """
    known = defaultdict(dict) if known is None else known
    after_failure = await _after_failure(job, known[first_store(job)[0]])
    manifests = await read_manifests(job.stores[name], job.environment.name, known[name])
    decisions = _decide(job, name, manifests, after_failure=after_failure)
    return [one.id for one in decisions if one.id in planned and not one.keep]


async def _list(job: Job, name: str, planned: frozenset[str]) -> Figures:
    found = await condemn(job.stores[name], job.environment.name, job.now(), await _still(job, name, planned))
    return {"added": found.added, "rescued": found.rescued, "doomed": found.doomed}


async def _remove(job: Job, name: str, planned: frozenset[str]) -> Figures:
    known: Known = defaultdict(dict)
    chosen = await _still(job, name, planned, known)
    removed, refused = 0, list[str]()
    # newest first: which one is the oldest, and stays for that, is the same until the end
    for number, id_ in enumerate(reversed(chosen)):
        job.progress(number / len(chosen), f"removing {id_} from {name}")
        if id_ not in await _still(job, name, planned, known):  # removing takes long
            continue
        try:
            await remove_backup(job.stores[name], job.environment.name, id_)
        except StoreError as error:  # an object lock, perhaps only of this one
            refused.append(error.message)
        else:
            removed += 1
    _note(job, name, refused)
    return {"removed": removed, "refused": len(refused)}


async def _sweep(job: Job, name: str, _planned: frozenset[str]) -> Figures:
    swept = await sweep(job.stores[name], job.environment.name, job.now)
    _note(job, name, [] if swept.why is None else [swept.why])
    return {"removed": swept.removed, "bytes": swept.bytes, "refused": len(swept.refused)}


def _note(job: Job, name: str, refused: Sequence[str]) -> None:
    if refused:
        job.data[f"refused {name}"] = refused[0]


async def _figures(job: Job, stores: Mapping[str, Store], found: Mapping[str, Sequence[Manifest]]) -> Figures:
    size = 0
    for store in stores.values():
        for prefix in (f"{ROOT}/{job.environment.name}/", *pool_prefixes(job.environment.name)):
            size += sum(stat.size_bytes for stat in await store.list(prefix))
    return {"backups": sum(len(manifests) for manifests in found.values()), "stored_bytes": size}
