"""Restore a snapshot into a new database beside what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Plan, Step, Target, Verdict
from actions._restoration import Restoration, disk_bytes, look_ahead, seconds_until
from actions._restore_indexes import Build
from actions._restore_load import Wanted
from actions._restore_names import chosen_tables, new_name
from actions._restore_place import Place
from actions._restore_roles import drop_roles
from actions._restore_source import SourceParameters, choose, reopen
from fleet.policy import Risk

_IN_ORDER = ("load", "keys", "vectors", "check")
_TIMEOUT = timedelta(hours=12)


class Parameters(SourceParameters):
    into: str | None = Field(
        None, min_length=1, max_length=63, description="the new database; null: named for the snapshot's date"
    )
    tables: tuple[str, ...] | None = Field(
        None, min_length=1, description="rows of these tables alone, name or schema.name; all definitions are restored"
    )
    schema_only: bool = Field(False, description="no rows at all")
    defer_vector_indexes: bool = Field(
        False, description="check first, then build vector indexes while the database is written to"
    )
    create_roles: bool = Field(False, description="make the roles that the server lacks, without login")
    jobs: int = Field(2, ge=1, le=32, description="tables loaded, or indexes built, at once")
    maintenance_mb: int | None = Field(None, ge=64, description="memory for index builds in all; null: by the server")


class Restore(Action[Parameters]):
    """Never over a database that exists. What a run that failed has made is dropped again; a finished one is kept."""

    name = "restore"
    summary = "restore a snapshot into a new database, compare it with the snapshot"
    risk = Risk.GUARDED
    windowed = False
    subjects: ClassVar[tuple[str, ...]] = ("databases",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return replace(parameters.target, object=parameters.into or parameters.database or "")

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        source = await choose(job, parameters)
        missing = await look_ahead(job, source, create_roles=parameters.create_roles)
        into = await new_name(job, source, parameters.into)
        tables = chosen_tables(source, parameters.tables)
        what = "the schema" if parameters.schema_only else ", ".join(parameters.tables or ()) or "all"
        return Plan(
            f"restore {what} of {source.snapshot.name}, as of {source.taken}, into the new {into}{source.remark}",
            ("load", "keys", "check", "vectors") if parameters.defer_vector_indexes else _IN_ORDER,
            {"rows": 0, "tables": 0},
            ({**source.object, "into": into, "tables": None if tables is None else sorted(map(list, tables))},),
            (
                *(f"CREATE ROLE {role} NOLOGIN" for role in missing),
                f"CREATE DATABASE {into} OWNER {source.snapshot.owner}",
                f"COPY of {source.snapshot.plain_bytes / 1e6:.1f} MB",
            ),
            "one more database on the server; nothing that is there is touched, but it shares disk and memory",
            disk_bytes(source),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        async def run(name: str) -> Figures:
            restoration = await _restoration(job, parameters, plan)
            match name:
                case "load":
                    return await restoration.load()
                case "keys":
                    return await restoration.keys()
                case "vectors":
                    return await restoration.vectors(concurrently=parameters.defer_vector_indexes)
                case _:
                    return await restoration.check(vectors=not parameters.defer_vector_indexes)

        return [Step(name, partial(run, name), timeout=_TIMEOUT) for name in plan.steps]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        into = plan.objects[0]["into"]
        figures: dict[str, float | str] = {"rows": job.data.get("rows", 0), "tables": job.data.get("tables", 0)}
        if not await Place(job, into).is_ours():
            return Verdict(False, f"there is no database {into} of this run", figures)
        problems = job.data.get("problems")
        if problems is None:
            return Verdict(False, f"{into} was not compared with the backup", figures)
        if problems:
            return Verdict(False, f"{into} is not as it was backed up: {'; '.join(problems)}", figures)
        figures["queryable_seconds"] = seconds_until(job, "queryable")
        figures["ready_seconds"] = seconds_until(job, "ready")
        notes = "".join(f"; {note}" for note in job.data.get("notes", ()))
        reason = f"{into} is as it was backed up: {figures['rows']} rows of {figures['tables']} tables were compared"
        return Verdict(True, reason + notes, figures)

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Drop the database and the roles that the run made."""
        await Place(job, plan.objects[0]["into"]).drop()
        await drop_roles(job)


async def _restoration(job: Job, parameters: Parameters, plan: Plan) -> Restoration:
    (planned,) = plan.objects
    source = await reopen(job, planned)
    tables = None if planned["tables"] is None else frozenset((schema, name) for schema, name in planned["tables"])
    workers = max(1, min(parameters.jobs, job.environment.connections - 1))
    build = Build(Wanted(tables, parameters.schema_only, workers), parameters.maintenance_mb)
    return Restoration(job, Place(job, planned["into"]), source, build, create_roles=parameters.create_roles)
