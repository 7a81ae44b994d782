"""REINDEX CONCURRENTLY of indexes that take much more room than they have to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Measure, Object, Plan, Step, Target, Verdict
from actions._index_bloat import Index, find_again, find_indexes
from actions._index_build import build_anew, drop_left_overs, left_overs, refuse_hazards
from actions._session import writable_databases
from actions._tables import GONE
from actions._vector_build import at_work
from fleet.errors import ActionError
from fleet.policy import Risk, Strict

_TIMEOUT = timedelta(hours=12)  # a build waits for every transaction that is older than it
_TRIES = 5
_RATIO = "bytes_per_tuple"


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all of the environment")
    schemaname: str | None = Field(None, description="the schema; null: any")
    relname: str | None = Field(None, description="the table; null: any")
    indexrelname: str | None = Field(None, description="the index; null: every bloated one")
    least_bytes: int = Field(10 * 2**20, ge=0, description="smaller indexes are left alone, in bytes")
    force: bool = Field(False, description="bloated or not; the index must be named")
    limit: int = Field(10, ge=1, le=100, description="most indexes in one run, those with most to gain first")

    @property
    def names(self) -> tuple[str | None, str | None, str | None]:
        return self.schemaname, self.relname, self.indexrelname


class Reindex(Action[Parameters]):
    """Only what is bloated by fresh statistics: each table is analyzed first, and then it is decided again."""

    name = "reindex"
    summary = "build bloated indexes anew beside the traffic (REINDEX CONCURRENTLY)"
    risk = Risk.GUARDED
    subjects: ClassVar[tuple[str, ...]] = ("indexes", "sizes", "tables", "vectors")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup"})  # it would wait for the end of the dump
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("index_built_bytes_per_tuple", "Bytes for each entry when it was last built by reindex.", _RATIO),
    )

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        names = [parameters.datname, parameters.schemaname, parameters.indexrelname]
        whole = ".".join(name for name in names if name) if all(names) else ""
        return Target(whole, None if parameters.datname is None else frozenset({parameters.datname}))

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        if parameters.force and parameters.indexrelname is None:
            raise ActionError("only an index that is named is built anew whether bloated or not", hint="name it")
        found = await _find(job, parameters)
        # of a kind whose new size nobody can estimate, whoever names it has decided
        due = [one for one in found if parameters.force or one.is_bloated(parameters.least_bytes) or _unknown(one)]
        due = due if parameters.indexrelname else [one for one in due if not _unknown(one)]
        due.sort(key=lambda index: (index.expected_bytes or 0.0) - index.bytes)
        if not due:
            return Plan(f"no index is bloated{_sizes(found) if parameters.indexrelname else ''}", (), _figures(found))
        for database in sorted({index.datname for index in due}):
            await refuse_hazards(job, database)
        chosen, more = due[: parameters.limit], len(due) - parameters.limit
        return Plan(
            f"build {len(chosen)} index(es) anew{_sizes(chosen)}{f'; {more} more next time' if more > 0 else ''}",
            tuple(f"reindex {index.datname}: {index.quoted}" for index in chosen),
            _figures(chosen),
            tuple(index.object for index in chosen),
            tuple(f"REINDEX INDEX CONCURRENTLY {index.quoted}" for index in chosen),
            "the room that they do not need is free again, and reads of them take fewer blocks; reads and writes go on "
            "meanwhile. One after the other, each beside the old one: that room is needed as long as it takes.",
            disk_bytes=max(_disk_bytes(index) for index in chosen),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_reindex, job, parameters, one), timeout=_TIMEOUT, tries=_TRIES)
            for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        found: list[Index] = []
        for planned in plan.objects:
            async with job.connections.acquire(planned["datname"]) as connection:
                index, left = await find_again(connection, planned), await left_overs(connection, planned)
            if left:
                return Verdict(False, f"{left[0].quoted} is left of a build that failed", _figures(found))
            found += [index] if index is not None else []
            if index is None:
                return Verdict(False, f"{planned['indexrelname']} was {GONE}", _figures(found))
            if index.obstacle is not None:
                return Verdict(False, f"{index.quoted} {index.obstacle}", _figures(found))
            anew = index.oid != planned["oid"]
            if not anew and (parameters.force or _unknown(index)):
                return Verdict(False, f"{index.quoted} was not built anew", _figures(found))
            if index.is_bloated(parameters.least_bytes):
                was = "was built anew and takes as much again" if anew else "is bloated"
                return Verdict(False, f"{index.quoted} {was}{_sizes([index])}", _figures(found))
        figures = _figures(found)
        if len(found) == 1 and found[0].oid != plan.objects[0]["oid"] and found[0].tuples:
            figures = {**figures, _RATIO: found[0].bytes / found[0].tuples}
        return Verdict(True, f"none of {len(found)} index(es) is bloated{_sizes(found)}", figures)

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Drop what a build left that did not come to its end; the old index was in use all the time."""
        for planned in plan.objects:
            async with at_work(job, planned) as connection:
                await drop_left_overs(connection, planned)


async def _find(job: Job, parameters: Parameters) -> list[Index]:
    """The indexes that are meant and may be built anew. Raises ActionError where what is named is not, or may not."""
    found: list[Index] = []
    for database in await writable_databases(job, parameters.datname):
        async with job.connections.acquire(database) as connection:
            found += await find_indexes(connection, database, parameters.names)
    named = [name for name in parameters.names if name is not None]
    if named and not found:
        raise ActionError(
            f"{job.environment.name} has no index {'.'.join(named)}",
            hint="name schema, table and index as the catalogue does; was it dropped already?",
        )
    free = [index for index in found if index.obstacle is None]
    if parameters.indexrelname is not None and not free:
        raise ActionError(f"{found[0].quoted} {found[0].obstacle}", hint="it cannot be built anew beside itself")
    return free


async def _reindex(job: Job, parameters: Parameters, planned: Object) -> Figures:
    """Look once more, with fresh statistics, then build; what an earlier attempt built is left alone."""
    async with at_work(job, planned) as connection:
        dropped = await drop_left_overs(connection, planned)
        index = await find_again(connection, planned)
        if index is None:
            return {"skipped": GONE}
        if index.oid != planned["oid"]:  # a new one takes the names of the old one, and has an id of its own
            return {"skipped": "built by an earlier attempt", "left_overs": dropped}
        await connection.execute(f"analyze {index.quoted_table}")
        index = await find_again(connection, planned) or index
        if not (parameters.force or _unknown(index) or index.is_bloated(parameters.least_bytes)):
            return {"skipped": f"not bloated by fresh statistics{_sizes([index])}"}
        await build_anew(job, connection, index)
        built = await find_again(connection, planned) or index
    return {"built": built.quoted, "bytes_before": index.bytes, "bytes_after": built.bytes}


def _unknown(index: Index) -> bool:
    return index.bloat is None


def _disk_bytes(index: Index) -> float:
    """The new index beside the old one, and what is sorted on the way."""
    new = index.bytes if index.expected_bytes is None else min(index.bytes, 1.2 * index.expected_bytes)
    return new if index.shape is not None else 2 * new


def _sizes(indexes: Sequence[Index]) -> str:
    told = sum(index.bytes for index in indexes)
    known = [index.expected_bytes for index in indexes if index.expected_bytes is not None]
    if not indexes:
        return ""
    new = f", about {sum(known) / 2**20:.1f} MiB when new" if len(known) == len(indexes) else ""
    return f": {told / 2**20:.1f} MiB{new}"


def _figures(indexes: Sequence[Index]) -> Figures:
    return {
        "indexes": len(indexes),
        "bytes": sum(index.bytes for index in indexes),
        "expected_bytes": sum(index.expected_bytes or index.bytes for index in indexes),
        "most_bloated": max((index.bloat or 1.0 for index in indexes), default=1.0),
    }
