"""Drop what a failed CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY left: every write pays, no query gains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._invalid_indexes import InvalidIndex, has_index, invalid_indexes
from actions._session import alone, writable_databases
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

# It waits for every transaction that uses the table, and lets reads and writes pass meanwhile: longer than for other
# locks is harmless.
_LOCK_TIMEOUT = "10s"
_TRIES = 5


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: any")
    indexrelname: str | None = Field(None, description="the index; null: every left-over")

    @property
    def names(self) -> tuple[str | None, str | None, str | None]:
        return self.schemaname, self.relname, self.indexrelname


class DropInvalidIndex(Action[Parameters]):
    """Never one that is being built, backs a constraint, is a replica identity, or belongs to something larger."""

    name = "drop_invalid_index"
    summary = "drop invalid indexes that a failed CREATE or REINDEX CONCURRENTLY left"
    risk = Risk.GUARDED
    subjects: ClassVar[tuple[str, ...]] = ("indexes",)
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # it would wait for the dump's lock

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        names = [parameters.datname, parameters.schemaname, parameters.indexrelname]
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        found = await _find(job, parameters)
        dropped = [index for index in found if index.obstacle is None]
        kept = "".join(f"; {index.quoted} stays, it {index.obstacle}" for index in found if index.obstacle)
        if not dropped:
            if parameters.indexrelname is not None and found:
                raise ActionError(f"{found[0].quoted} {found[0].obstacle}", hint="nothing may be dropped there")
            return Plan(f"there is no left-over to drop{kept}", (), _figures(dropped))
        return Plan(
            f"drop {len(dropped)} invalid index(es){kept}",
            tuple(f"drop {index.datname}: {index.quoted}" for index in dropped),
            _figures(dropped),
            tuple(index.object for index in dropped),
            tuple(f"DROP INDEX CONCURRENTLY {index.quoted}" for index in dropped),
            "writes no longer pay for what no query uses, and its room is free; reads and writes go on. "
            "The definitions are kept with this plan: create the index again where it is missed.",
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_drop, job, one), tries=_TRIES)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        left = await _left(job, plan.objects)
        if left:
            why = f": it {left[0].obstacle}" if left[0].obstacle else ""
            return Verdict(False, f"{left[0].quoted} is still there, and invalid{why}", _figures(left))
        return Verdict(True, f"none of {len(plan.objects)} invalid index(es) is left", _figures(left))


async def _find(job: Job, parameters: Parameters) -> list[InvalidIndex]:
    """The invalid indexes that are meant. Raises ActionError where there is no index of these names at all."""
    found: list[InvalidIndex] = []
    known = False
    for database in await writable_databases(job, parameters.datname):
        async with job.connections.acquire(database) as connection:
            found += await invalid_indexes(connection, database, parameters.names)
            known = known or await has_index(connection, parameters.names)
    named = [name for name in parameters.names if name is not None]
    if named and not known:
        raise ActionError(
            f"{job.environment.name} has no index {'.'.join(named)}",
            hint="name schema, table and index as the catalogue does; was it dropped already?",
        )
    return found


async def _drop(job: Job, planned: Object) -> Figures:
    """Look once more, then drop; what an earlier attempt dropped, or somebody made valid, is left alone."""
    async with job.changes.acquire(planned["datname"]) as connection, alone(connection, job, f"drop {planned['oid']}"):
        found = [
            index
            for index in await invalid_indexes(connection, planned["datname"], oids=[planned["oid"]])
            if index.object == planned
        ]
        if not found:
            return {"skipped": "it is not there any more, or another one by now"}
        if found[0].obstacle:
            raise ActionError(f"{found[0].quoted} {found[0].obstacle}", hint="look again when that is over")
        await connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
        try:
            await connection.execute(f"drop index concurrently {found[0].quoted}")
        finally:
            if not connection.is_closed():
                await connection.execute("reset lock_timeout")
    return {"dropped": found[0].quoted, "definition": found[0].definition, "bytes": found[0].bytes}


async def _left(job: Job, objects: Iterable[Object]) -> list[InvalidIndex]:
    """Which of the planned ones are still there, and invalid."""
    planned: dict[str, list[int]] = {}
    for one in objects:
        planned.setdefault(one["datname"], []).append(one["oid"])
    left: list[InvalidIndex] = []
    for database, oids in planned.items():
        async with job.connections.acquire(database) as connection:
            left += await invalid_indexes(connection, database, oids=oids)
    return left


def _figures(indexes: Sequence[InvalidIndex]) -> Figures:
    return {"invalid_indexes": len(indexes), "bytes": sum(index.bytes for index in indexes)}
