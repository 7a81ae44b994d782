"""Drop indexes that no query has used for long: every write pays for them. Their definitions are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._index_build import drop_concurrently
from actions._index_use import IndexUse, index_uses
from actions._session import writable_databases
from actions._vector_build import at_work
from fleet.connections import Connection
from fleet.durations import Duration
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TRIES = 5
# alerts that fire only where an index was there, and unused, for as long as `window` is by default
_WATCHERS = frozenset({"IndexUnusedForLong"})


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: any")
    indexrelname: str | None = Field(None, description="the index; null: every one that is unused")
    window: Duration = Field(
        timedelta(days=14), ge=timedelta(0), description="what was used, made, or counted anew since then stays"
    )
    least_bytes: int = Field(2**20, ge=0, description="smaller ones stay, unless named, in bytes")
    vouched: bool = Field(
        False, description="somebody knows that it is older than `window` and that no standby uses it"
    )
    alertname: str | None = Field(None, description="the alert that watched it; told by the alert itself")

    @property
    def names(self) -> tuple[str | None, str | None, str | None]:
        return self.schemaname, self.relname, self.indexrelname


class DropUnusedIndex(Action[Parameters]):
    """Never one that enforces something, is a replica identity or serves a foreign key, nor a young one."""

    name = "drop_unused_index"
    summary = "drop indexes that no query has used for long; their definitions are kept"
    risk = Risk.DANGEROUS
    subjects: ClassVar[tuple[str, ...]] = ("indexes", "sizes")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # it would wait for the dump's lock

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        names = [parameters.datname, parameters.schemaname, parameters.indexrelname]
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found = await _find(job, parameters)
        dropped = [index for index in found if _reason(index, parameters) is None]
        if not dropped:
            if parameters.indexrelname is not None:
                raise ActionError(
                    f"{found[0].quoted} {_reason(found[0], parameters)}",
                    hint="where you know better than the server: -p vouched=true",
                )
            return Plan("there is no unused index to drop", (), _figures(dropped))
        policy = job.environment.policy
        elsewhere = policy.same_schema and not job.environment.schema_reference
        return Plan(
            f"drop {len(dropped)} unused index(es) of {sum(index.bytes for index in dropped) / 2**20:.1f} MiB",
            tuple(f"drop {index.datname}: {index.quoted}" for index in dropped),
            _figures(dropped),
            tuple(index.object for index in dropped),
            tuple(f"DROP INDEX CONCURRENTLY {index.quoted}" for index in dropped),
            "writes no longer pay for what no query uses, and its room is free; reads and writes go on. "
            "The definitions are kept with this plan: create the index again where it is missed, and drop it in a "
            "migration as well, or the next one brings it back."
            + (" The schema will differ from the reference environment's." if elsewhere else ""),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_drop, job, parameters, one), tries=_TRIES)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        left: list[IndexUse] = []
        for planned in plan.objects:
            async with job.connections.acquire(planned["datname"]) as connection:
                left += await index_uses(connection, planned["datname"], oids=[planned["oid"]])
        if left:
            why = f": it {left[0].obstacle}" if left[0].obstacle else ""
            return Verdict(False, f"{left[0].quoted} is still there{why}", _figures(left))
        return Verdict(True, f"none of {len(plan.objects)} unused index(es) is left", _figures(left))

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """A drop that was ended half way leaves an invalid index, of no use to anybody: it is finished."""
        for planned in plan.objects:
            async with at_work(job, planned) as connection:
                for index in await _planned(connection, planned):
                    if not index.valid:
                        await drop_concurrently(connection, index.quoted)


async def _find(job: Job, parameters: Parameters) -> list[IndexUse]:
    """The indexes that are meant. Raises ActionError where there is no index of these names."""
    found: list[IndexUse] = []
    for database in await writable_databases(job, parameters.datname):
        async with job.connections.acquire(database) as connection:
            found += await index_uses(connection, database, parameters.names)
    named = [name for name in parameters.names if name is not None]
    if named and not found:
        raise ActionError(
            f"{job.environment.name} has no index {'.'.join(named)}",
            hint="name schema, table and index as the catalogue does; was it dropped already?",
        )
    if parameters.indexrelname is None:
        return [index for index in found if index.bytes >= parameters.least_bytes]
    return found


def _reason(index: IndexUse, parameters: Parameters) -> str | None:
    if not index.valid:
        return "is invalid: drop_invalid_index is for those"
    watched = parameters.alertname in _WATCHERS and parameters.indexrelname is not None
    vouched = parameters.vouched or (watched and not index.standbys)
    return index.reason_to_stay(parameters.window.total_seconds(), vouched=vouched)


async def _planned(connection: Connection, planned: Object) -> list[IndexUse]:
    found = await index_uses(connection, planned["datname"], oids=[planned["oid"]])
    return [index for index in found if index.object.items() >= planned.items()]


async def _drop(job: Job, parameters: Parameters, planned: Object) -> Figures:
    """Look once more, then drop; what an earlier attempt dropped is well, what is used by now stays."""
    async with at_work(job, planned) as connection:
        found = await _planned(connection, planned)
        if not found:
            return {"skipped": "it is not there any more, or another one by now"}
        index = found[0]
        # an invalid one is what an earlier attempt left half way: it was valid when it was planned
        reason = _reason(index, parameters) if index.valid else index.obstacle
        if reason is not None:
            raise ActionError(f"{index.quoted} {reason}", hint="it stays")
        await drop_concurrently(connection, index.quoted)
    return {"dropped": index.quoted, "definition": index.definition, "bytes": index.bytes}


def _figures(indexes: Sequence[IndexUse]) -> Figures:
    return {"unused_indexes": len(indexes), "bytes": sum(index.bytes for index in indexes)}
