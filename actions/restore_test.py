"""Prove that a backup can be restored: on another server, with everything compared, and nothing left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Plan, Step, Target, Verdict
from actions._amcheck import find_corruption
from actions._left_overs import drop_left_overs
from actions._restoration import Restoration, look_ahead, seconds_until
from actions._restore_indexes import Build
from actions._restore_load import Wanted
from actions._restore_place import Place
from actions._restore_roles import drop_roles
from actions._restore_source import Source, SourceParameters, choose, reopen
from actions._scratch import scratch
from fleet.backups import Proof, read_manifest, write_proof
from fleet.errors import ActionError
from fleet.policy import Risk, Tier

_TIMEOUT = timedelta(hours=12)
_WORKERS = 2
_SCRATCH = "a scratch server"


class Parameters(SourceParameters):
    maintenance_mb: int | None = Field(None, ge=64, description="memory for index builds; null: by the machine")


class RestoreTest(Action[Parameters]):
    """A test that could not run to its end has proven nothing, and fails."""

    name = "restore_test"
    summary = "restore a snapshot elsewhere, compare all of it, and put on record that it was proven"
    risk = Risk.READ
    subjects: ClassVar[tuple[str, ...]] = ("backups",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        return parameters.target

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        source = await choose(job, parameters)
        where = job.environment.policy.backup.restore_tests_on or _SCRATCH
        return Plan(
            f"restore {source.snapshot.name}, as of {source.taken}, on {where} and compare it{source.remark}",
            ("restore", "record"),
            _figures(source),
            (source.object,),
            ("CREATE DATABASE", f"COPY of {source.snapshot.plain_bytes / 1e6:.1f} MB", "pg_amcheck", "DROP DATABASE"),
            f"work for {where}; the environment itself is not touched",
        )

    def steps(self, job: Job, parameters: Parameters, plan: Plan) -> Sequence[Step]:
        async def restore() -> Figures:
            source = await reopen(job, plan.objects[0])
            async with _server(job) as site:
                return await _prove(job, site, source, parameters)

        async def record() -> Figures:
            return await _record(job, await reopen(job, plan.objects[0]))

        return Step("restore", restore, timeout=_TIMEOUT), Step("record", record)

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        source = await reopen(job, plan.objects[0])
        manifest = await read_manifest(source.store, source.manifest.environment, source.manifest.id)
        figures = dict(_figures(source))
        if "problems" not in job.data:
            return Verdict(False, f"{manifest.id} was not restored", figures)
        if problems := job.data["problems"]:
            return Verdict(False, f"{manifest.id} cannot be restored as it was: {'; '.join(problems)}", figures)
        if manifest.proof is None or manifest.proof.at != job.data["proven_at"]:
            return Verdict(False, f"that {manifest.id} was proven is not on record", figures)
        figures |= {name: job.data.get(name, 0) for name in ("rows", "tables")}
        figures |= {"queryable_seconds": seconds_until(job, "queryable"), "ready_seconds": seconds_until(job, "ready")}
        notes = "".join(f"; {note}" for note in job.data.get("notes", ()))
        return Verdict(True, f"{manifest.id} was restored: all its rows, schema and indexes are there{notes}", figures)


@asynccontextmanager
async def _server(job: Job) -> AsyncIterator[Job]:
    """The run on the server where restores are tested."""
    elsewhere = job.environment.policy.backup.restore_tests_on
    if elsewhere is None:
        async with scratch(job) as site:
            yield site
        return
    if job.elsewhere is None:
        raise ActionError(f"the test could not run: {elsewhere} is out of reach")
    site = job.elsewhere(elsewhere)
    if site.environment.tier is Tier.PRODUCTION:
        raise ActionError(
            f"the test will not run: {elsewhere} is a production environment",
            hint="set restore_tests_on to another one, or to null for a scratch server",
        )
    try:
        yield site
    finally:
        await site.changes.close()
        await site.connections.close()


async def _prove(job: Job, site: Job, source: Source, parameters: Parameters) -> Figures:
    """Restore into a database of this run, compare, drop it whatever came out."""
    for name in ("begun_at", "queryable_at", "ready_at", "problems", "proven_at"):
        job.data.pop(name, None)  # of an earlier try
    await drop_left_overs(job, site)
    place = Place(site, f"custode_test_{job.run_id}"[:63])
    build = Build(Wanted(workers=_WORKERS), parameters.maintenance_mb)
    restoration = Restoration(job, place, source, build, create_roles=True, any_locale=True)
    await look_ahead(site, source, create_roles=True)
    await place.drop()
    try:
        await restoration.load()
        await restoration.keys()
        await restoration.vectors()
        figures = await restoration.check()
        corrupt, notes = await find_corruption(place)
    finally:
        await place.drop()
        await drop_roles(site)
    job.data["problems"] += corrupt
    job.data["notes"] += notes
    job.data["proven_at"] = job.now()
    return {**figures, "problems": len(job.data["problems"]), "ready_seconds": seconds_until(job, "ready")}


async def _record(job: Job, source: Source) -> Figures:
    if job.data["problems"]:
        return {"proven": 0}
    proof = Proof(
        at=job.data["proven_at"],
        seconds=seconds_until(job, "ready"),
        queryable_seconds=seconds_until(job, "queryable"),
        where=job.environment.policy.backup.restore_tests_on or _SCRATCH,
    )
    await write_proof(source.store, source.manifest, proof)
    return {"proven": 1}


def _figures(source: Source) -> Figures:
    proof = source.manifest.proof
    return {"last_proof_timestamp_seconds": 0.0 if proof is None else proof.at}
