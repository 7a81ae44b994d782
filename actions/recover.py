"""Put the newest good snapshot in the place of a database that is damaged or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar

import structlog
from pydantic import Field

from actions._action import Action, Figures, Job, Plan, Step, Target, Verdict
from actions._losses import count_losses
from actions._restoration import Restoration, disk_bytes, look_ahead, seconds_until
from actions._restore_indexes import Build
from actions._restore_load import Wanted
from actions._restore_names import beside, new_name
from actions._restore_place import Place, mark_of
from actions._restore_roles import drop_roles
from actions._restore_source import SourceParameters, choose, reopen
from actions._switch import Renaming, copy_settings, identity, name_of, rename
from fleet.backups.scrub import scrub
from fleet.errors import ActionError
from fleet.policy import Risk

log = structlog.get_logger()

_TIMEOUT = timedelta(hours=12)
_LATE = _TIMEOUT - timedelta(minutes=10)  # ends before the step does, which would be its failure
_DRILL = ("load", "keys", "vectors", "check", "drop")
_WHOLE = ("load", "keys", "vectors", "check", "switch")
_QUERYABLE_FIRST = ("load", "keys", "check", "switch", "vectors")


class Parameters(SourceParameters):
    drill: bool = Field(False, description="all but the switch; the copy is dropped")
    defer_vector_indexes: bool = Field(False, description="switch first, then build vector indexes beside the traffic")
    create_roles: bool = Field(False, description="make the roles that the server lacks, without login")
    jobs: int = Field(2, ge=1, le=32, description="tables loaded, or indexes built, at once")
    maintenance_mb: int | None = Field(None, ge=64, description="memory for index builds in all; null: by the server")


@dataclass(frozen=True, slots=True)
class _Names:
    """Of the database, the copy that is restored beside it, and what the damaged one is called afterwards."""

    database: str
    copy: str
    damaged: str


class Recover(Action[Parameters]):
    """The damaged one is kept, closed. It is put back where a person cancels the run; the copy is kept, too."""

    name = "recover"
    summary = "restore the newest good snapshot beside a database, verify it, and switch to it"
    risk = Risk.DESTRUCTIVE
    windowed = False
    subjects: ClassVar[tuple[str, ...]] = ("databases", "backups")
    conflicts: ClassVar[frozenset[str]] = frozenset({"backup", "restore", "vacuum", "analyze"})

    def parameters(self) -> type[Parameters]:
        return Parameters

    def risk_of(self, parameters: Parameters) -> Risk:
        """A drill replaces nothing."""
        return Risk.GUARDED if parameters.drill else Risk.DESTRUCTIVE

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        source = await choose(job, parameters)
        missing = await look_ahead(job, source, create_roles=parameters.create_roles)
        database = source.snapshot.name
        copy = await new_name(job, source, None)
        oid, _ = await identity(job, database)
        lost = max(0.0, job.now() - source.manifest.started_at)
        rename_both = (
            f"ALTER DATABASE {database} RENAME TO {database}_damaged_TIME",
            f"ALTER DATABASE {copy} RENAME TO {database}",
        )
        end = "" if parameters.drill else f": what came after {source.taken} is lost ({lost / 60:.0f} minutes by now)"
        return Plan(
            f"{'drill: ' if parameters.drill else ''}recover {database} as of {source.taken}{end}{source.remark}",
            _DRILL if parameters.drill else _QUERYABLE_FIRST if parameters.defer_vector_indexes else _WHOLE,
            {"database_oid": oid, "rows": 0},
            ({**source.object, "copy": copy},),
            (
                *(f"CREATE ROLE {role} NOLOGIN" for role in missing),
                f"CREATE DATABASE {copy} OWNER {source.snapshot.owner}",
                f"COPY of {source.snapshot.plain_bytes / 1e6:.1f} MB",
                *((f"DROP DATABASE {copy}",) if parameters.drill else rename_both),
            ),
            "the copy is dropped again; nothing else changes"
            if parameters.drill
            else "all sessions of it are ended; the damaged one is kept beside, closed, until somebody drops it",
            disk_bytes(source),
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [Step(name, partial(_run, job, parameters, plan, name), timeout=_TIMEOUT) for name in plan.steps]

    async def verify(self, job: Job, parameters: Parameters, plan: Plan) -> Verdict:
        names = _names(job, plan)
        oid, mark = await identity(job, names.database)
        figures: dict[str, float | str] = {"database_oid": oid, "rows": job.data.get("rows", 0)}
        if job.data.get("problems") is None:
            return Verdict(False, f"{names.database} was not restored", figures)
        figures |= {name: job.data[name] for name in _TOLD if job.data.get(name) is not None}
        figures["queryable_seconds"] = seconds_until(job, "queryable")
        if parameters.drill:
            return Verdict(True, f"the drill went through: {_took(job)} until it could be switched", figures)
        if mark != mark_of(job):
            return Verdict(False, f"{names.database} is not the restored one", figures)
        if trouble := job.data.get("vector_trouble"):
            return Verdict(False, f"{names.database} is back, but not its vector indexes: {trouble}", figures)
        lost = figures.get("lost_seconds", 0.0)
        reason = f"{names.database} is back as of {float(lost) / 60:.1f} minutes before the switch, after {_took(job)}"
        kept = f"; the damaged one is {damaged}" if (damaged := job.data.get("damaged")) else ""
        return Verdict(True, reason + _beyond_promise(job) + kept, figures)

    async def undo(self, job: Job, _parameters: Parameters, plan: Plan) -> None:
        """Switch back where a person cancels after the switch; what was written since is in the copy, which is kept.

        Raises:
            ActionError: the restored one stays in its place, for the run failed after the switch, or the damaged one is
                not there any more.
        """
        names = _names(job, plan)
        _, mark = await identity(job, names.database)
        if mark == mark_of(job):
            aside = f"custode: was {names.database} until run {job.run_id} was taken back"
            damaged = await _damaged(job, plan)
            if "switched" in job.data and not job.cancelled:
                raise ActionError(
                    f"the restored {names.database} stays: people may have written to it since the switch",
                    hint=None if damaged is None else f"the damaged one is {damaged}",
                )
            if damaged is None and _planned_oid(plan):
                raise ActionError(f"the damaged {names.database} is gone: the restored one stays", hint="look at both")
            back = [] if damaged is None else [Renaming(damaged, names.database)]
            await rename(job, [Renaming(names.database, names.copy, aside), *back])
            return
        await Place(job, names.copy).drop()
        await drop_roles(job)


_TOLD = ("lost_seconds", "lost_rows", "recovery_seconds")


async def _run(job: Job, parameters: Parameters, plan: Plan, name: str) -> Figures:
    work = _step(job, parameters, plan, name)
    return await (_late(job, work) if "switched" in job.data and name == "vectors" else work)


async def _step(job: Job, parameters: Parameters, plan: Plan, name: str) -> Figures:
    source = await reopen(job, plan.objects[0])
    names = _names(job, plan)
    if name == "switch":
        return await _switch(job, plan, names, source.manifest.started_at)
    switched = (await identity(job, names.database))[1] == mark_of(job)
    place = Place(job, names.database if switched else names.copy)
    workers = max(1, min(parameters.jobs, job.environment.connections - 1))
    build = Build(Wanted(workers=workers), parameters.maintenance_mb)
    restoration = Restoration(job, place, source, build, create_roles=parameters.create_roles)
    works: dict[str, Callable[[], Awaitable[Figures]]] = {
        "load": restoration.load,
        "keys": restoration.keys,
        "vectors": partial(restoration.vectors, concurrently=switched),
        "check": partial(_check, job, restoration, vectors=parameters.drill or not parameters.defer_vector_indexes),
        "drop": partial(_drop, place),
    }
    return await works[name]()


async def _check(job: Job, restoration: Restoration, *, vectors: bool) -> Figures:
    figures = await restoration.check(vectors=vectors)
    if problems := job.data["problems"]:
        raise ActionError(f"the copy is not as it was backed up: {'; '.join(problems)}", hint="take another backup")
    return figures


async def _drop(place: Place) -> Figures:
    return {"dropped": int(await place.drop())}


def _planned_oid(plan: Plan) -> int:
    """Of the database that is replaced; 0: it was gone."""
    return int(plan.figures["database_oid"])


async def _damaged(job: Job, plan: Plan) -> str | None:
    """What the replaced one is called: an earlier attempt may have named it, so it is known by its object id."""
    oid = _planned_oid(plan)
    return await name_of(job, oid) if oid else None


async def _switch(job: Job, plan: Plan, names: _Names, taken_at: float) -> Figures:
    """The damaged one aside, the copy into its place; a database that is gone leaves nothing aside."""
    oid, mark = await identity(job, names.database)
    if mark != mark_of(job):
        if oid and oid != _planned_oid(plan):
            raise ActionError(f"{names.database} is another database than when this was planned", hint="ask again")
        if oid:
            job.data["lost_rows"] = await count_losses(job, names.database, names.copy)
            await copy_settings(job, names.database, names.copy)
        aside = [Renaming(names.database, names.damaged, is_open=False)] if oid else []
        await rename(job, [*aside, Renaming(names.copy, names.database)])
    at = job.data["switched"] = job.now()
    job.data["damaged"] = await _damaged(job, plan)
    job.data["lost_seconds"] = max(0.0, at - taken_at)
    job.data["recovery_seconds"] = at - job.started_at
    return {name: job.data[name] for name in _TOLD if job.data.get(name) is not None}


async def _late(job: Job, vectors: Awaitable[Figures]) -> Figures:
    """People work in it already: what goes wrong here is no failure of the run, which could take the switch back."""
    try:
        async with asyncio.timeout(_LATE.total_seconds()):
            return await vectors
    except Exception as error:  # whatever it is, the verdict tells it
        said = "not built in time" if isinstance(error, TimeoutError) else scrub(str(error)) or type(error).__name__
        log.warning("vector_indexes_missing", environment=job.environment.name, error=said, exc_info=error)
        job.data["vector_trouble"] = said
        return {"vector_indexes": 0}


def _names(job: Job, plan: Plan) -> _Names:
    (planned,) = plan.objects
    stamp = f"{datetime.fromtimestamp(job.started_at, UTC):%Y%m%d_%H%M%S}"
    database = planned["datname"]
    return _Names(database, planned["copy"], beside(database, f"damaged_{stamp}"))


def _took(job: Job) -> str:
    seconds = job.data.get("recovery_seconds") or seconds_until(job, "queryable")
    return f"{seconds:.0f} s"


def _beyond_promise(job: Job) -> str:
    policy = job.environment.policy.backup
    said = ""
    for limit, name, what in (
        (policy.recovery_time, "recovery_seconds", "longer"),
        (policy.recovery_point, "lost_seconds", "more lost"),
    ):
        if limit is not None and job.data.get(name, 0.0) > limit.total_seconds():
            said += f"; {what} than promised ({limit.total_seconds() / 60:.0f} minutes)"
    return said
