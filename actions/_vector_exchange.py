"""What rebuilding a vector index and changing its kind share: build another, prove it, put it in place, drop the old.

The name is never without a valid index, and nobody who reads or writes the table waits.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar, TypeVar

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._vector_build import at_work, build, clear, new_name, old_name, standing
from actions._vector_parameters import VectorParameters, find_index
from actions._vector_plan import Design, Facts, budget_of, disk_bytes, objects, read_facts
from actions._vector_proof import faults, figures_of, glance, look_at, measurable, promised_recall, prove, the_index
from actions._vector_swap import drop_old, place_of_old, swap, take_back
from fleet.errors import ActionError
from fleet.vectors import Method, VectorIndex, vector_indexes
from fleet.vectors.plans import explain_use

_READING = timedelta(hours=4)
_BUILDING = timedelta(hours=48)
_SWAPPING = timedelta(minutes=10)
_TRIES = 5
_EFFECT = (
    "The old index serves until the new one is proven; reads and writes go on all the time. "
    "Its definition is kept with this plan."
)
P = TypeVar("P", bound=VectorParameters)


class Exchange(Action[P]):
    """The steps of an action that makes a vector index anew; `design` says as what."""

    subjects: ClassVar[tuple[str, ...]] = ("indexes", "vectors", "recall")

    @abstractmethod
    def design(self, index: VectorIndex, facts: Facts, parameters: P) -> Design | None:
        """What the index is to become; None where it is that already. Raises ActionError where it cannot."""

    @abstractmethod
    def keeps_old(self, parameters: P) -> bool:
        """Whether the old index stays, under another name."""

    def remarks(self, _index: VectorIndex, _design: Design, _parameters: P) -> list[str]:
        """What else there is to be known before somebody says yes."""
        return []

    def target(self, parameters: P) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: P) -> Plan:
        index = await find_index(job, parameters)
        async with job.connections.acquire(index.datname) as connection:
            facts = await read_facts(connection, index)
            design = self.design(index, facts, parameters)
            if design is None:
                return Plan(f"{index.quoted} is {index.method} already", (), _figures(index))
            planned = await objects(connection, job, design, facts, index)
            figures = _figures(index) | figures_of(await glance(connection, index, parameters.queries))
        _, said = await budget_of(job, design, facts, parameters.maintenance_mb)
        keep = self.keeps_old(parameters)
        remarks = [*said, *self.remarks(index, design, parameters)]
        return Plan(
            f"build {index.quoted} anew as {design.words}, {'keep' if keep else 'drop'} the old one",
            tuple(step.name for step in self._works(job, parameters, planned)),
            figures,
            tuple(planned),
            tuple(_commands(job, planned, keep=keep)),
            f"{_EFFECT} {'. '.join(remark[0].upper() + remark[1:] for remark in remarks)}.",
            disk_bytes(design),
        )

    def steps(self, job: Job, parameters: P, plan: Plan) -> Sequence[Step]:
        return self._works(job, parameters, plan.objects) if plan.steps else []

    async def verify(self, job: Job, parameters: P, plan: Plan) -> Verdict:
        planned = plan.objects[0]
        name = planned["indexrelname"]
        async with job.connections.acquire(planned["datname"]) as connection:
            found = await vector_indexes(connection, (planned["schemaname"], planned["relname"], name))
            if not found:
                return Verdict(False, f"{name} is not there")
            (index,) = found
            left = {new_name(job), old_name(job)} & (await standing(connection, planned)).keys()
            use = await explain_use(connection, index)
            figures = _figures(index) | figures_of(await glance(connection, index, parameters.queries))
        before, after = job.data.get("before", {}), job.data.get("after", {})
        figures |= {f"proven_{key}": value for key, value in after.items() if key != "served_by"}
        if index.oid == planned["oid"]:
            return Verdict(False, f"{index.quoted} is still the old index", figures)
        if not index.valid:
            return Verdict(False, f"{index.quoted} is invalid", figures)
        if left:
            return Verdict(False, f"{', '.join(sorted(left))} is left over", figures)
        if before.get("used") and not self.keeps_old(parameters) and (wrong := faults(use, index.rows or 0.0)):
            return Verdict(False, f"the planner does not use {index.quoted}: {wrong}", figures)
        return Verdict(True, f"{index.quoted} is built anew{_gain(before, after)}", figures)

    async def undo(self, job: Job, _parameters: P, plan: Plan) -> None:
        if plan.steps:
            await take_back(job, plan.objects[0])

    def _works(self, job: Job, parameters: P, all_planned: Sequence[Object]) -> list[Step]:
        planned, *others = all_planned
        keep = self.keeps_old(parameters)
        steps = [
            Step("measure the old index", partial(self._measure, job, parameters, planned, others), _READING, _TRIES),
            Step("build the new one", partial(self._build, job, parameters, planned), _BUILDING, _TRIES),
            Step("prove it", partial(self._prove, job, parameters, planned), _READING),
            Step("put it in place", partial(swap, job, planned, keep=keep), _SWAPPING, _TRIES),
        ]
        if not keep:
            wait = parameters.patience + _SWAPPING
            steps.append(Step("drop the old one", partial(drop_old, job, planned, parameters.patience), wait, _TRIES))
        return steps

    async def _measure(self, job: Job, parameters: P, planned: Object, others: Sequence[Object]) -> Figures:
        async with at_work(job, planned) as connection:
            cleared = await clear(job, connection, planned, others, parameters.patience)
            index = await the_index(job, planned, planned["oid"])
            if index.object.items() - planned.items():
                raise ActionError(f"{planned['indexrelname']} was renamed since the plan", hint="ask for a new plan")
            seen = await look_at(job, index, measurable(index, parameters.queries))
        job.data["before"] = dict(seen.figures) | {"used": seen.use.used, "bytes": index.size_bytes}
        return {**seen.figures, "left_overs_dropped": cleared}

    async def _build(self, job: Job, parameters: P, planned: Object) -> Figures:
        index = await the_index(job, planned, planned["oid"])
        async with job.connections.acquire(index.datname) as connection:
            facts = await read_facts(connection, index)
        design = self.design(index, facts, parameters)
        if design is None:
            raise ActionError(f"{index.quoted} is {index.method} already")
        budget, _ = await budget_of(job, design, facts, parameters.maintenance_mb)
        return await build(job, planned, budget, parameters.patience)

    async def _prove(self, job: Job, parameters: P, planned: Object) -> Figures:
        index = await the_index(job, planned, job.data["new_oid"])
        seen = await look_at(job, index, measurable(index, parameters.queries), youngest=True)
        loss, promised = parameters.most_loss(index.method), promised_recall(job, index.method)
        if (why := prove(seen, job.data["before"], loss, promised)) is not None:
            raise ActionError(f"the new index is not as good: {why}", hint=_STAYS[index.method])
        job.data["after"] = dict(seen.figures) | {"bytes": index.size_bytes}
        return seen.figures


_STAYS = {
    Method.IVFFLAT: "the old one stays as it was",
    Method.HNSW: "the old one stays as it was; a higher hnsw.ef_search finds more: where that will be set, ask again"
    " with a larger recall_loss (custode index probe shows the curve of an index that is there)",
}


def _commands(job: Job, planned: Sequence[Object], *, keep: bool) -> list[str]:
    first, *others = planned
    name, new, aside = first["quoted"], new_name(job), place_of_old(job, keep=keep)
    return [
        *(f"DROP INDEX CONCURRENTLY {other['left_over']}" for other in others),
        first["create"],
        f"ALTER INDEX {name} RENAME TO {aside}",
        f"ALTER INDEX {new} RENAME TO {first['quoted_name']}",
        *([] if keep else [f"DROP INDEX CONCURRENTLY {aside}"]),
    ]


def _figures(index: VectorIndex) -> dict[str, float | str]:
    return {"size_bytes": index.size_bytes, "rows": index.rows or 0.0}


def _gain(before: Figures, after: Figures) -> str:
    """In words, as far as it was measured."""
    said = []
    if "recall_ratio" in before and "recall_ratio" in after:
        said.append(f"recall {before['recall_ratio']:.3f}, then {after['recall_ratio']:.3f}")
        was, now = (1000 * float(one["search_seconds"]) for one in (before, after))
        said.append(f"a search took {was:.1f} ms, then {now:.1f} ms")
    if "bytes" in before and "bytes" in after:
        said.append(f"{float(before['bytes']) / 2**20:.0f} MB, then {float(after['bytes']) / 2**20:.0f} MB")
    return f": {'; '.join(said)}" if said else ""
