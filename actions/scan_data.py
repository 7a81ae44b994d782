"""Look for personal data where none may be, and put what was found on record: places and counts, never a value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import ClassVar

from pydantic import Field

from actions._action import Action, Figures, Job, Object, Plan, Step, Target, Verdict
from actions._copies import first_store
from fleet.backups.facts import databases_of
from fleet.data.kinds import Kind
from fleet.data.scan import NOBODY, People, read_people, scan, scan_options
from fleet.data.scan.records import ScanRecord, read_record, write_record
from fleet.errors import ActionError
from fleet.policy import Risk, Strict, Tier

_TIMEOUT = timedelta(hours=6)
_TOLD = 20  # places


class Parameters(Strict):
    datname: str | None = Field(None, description="the database; null: all")
    rows: int | None = Field(None, ge=1, description="about so many rows of each table, by chance; null: all")
    people: bool = Field(True, description="look for the users of every production environment, too")


class ScanData(Action[Parameters]):
    """Reads every row. The people of production are known by hashes that live as long as a step."""

    name = "scan_data"
    summary = "look for personal data by content, in rows, statistics and definitions"
    risk = Risk.READ
    subjects: ClassVar[tuple[str, ...]] = ("data",)

    def parameters(self) -> type[Parameters]:
        return Parameters

    def target(self, parameters: Parameters) -> Target:
        name = parameters.datname
        return Target(name or "", None if name is None else frozenset({name}), None)

    async def plan(self, job: Job, parameters: Parameters) -> Plan:
        if job.environment.policy.data.pii_allowed:
            raise ActionError(f"{job.environment.name} may hold personal data: there is nothing to find out")
        known = await databases_of(job.environment, job.connections)
        if parameters.datname is not None and parameters.datname not in known:
            raise ActionError(
                f"{job.environment.name} has no database {parameters.datname!r} for us",
                hint=f"known are: {', '.join(known)}",
            )
        names = known if parameters.datname is None else [parameters.datname]
        records = [await _last(job, name) for name in names]
        people = _peopled(job) if parameters.people else []
        how = "all rows" if parameters.rows is None else f"about {parameters.rows} rows of each table"
        whose = f", and for the users of {', '.join(people)}" if people else ""
        return Plan(
            f"look for personal data in {how} of {len(names)} database(s){whose}",
            tuple(f"scan {name}" for name in names),
            {"oldest_scan_timestamp_seconds": min((each.finished_at if each else 0.0 for each in records), default=0)},
            tuple({"datname": name, "rows": parameters.rows, "people": people} for name in names),
            tuple(f"COPY of {how} of {name} TO STDOUT" for name in names),
            "nothing is changed; the data is read once",
        )

    def steps(self, job: Job, _parameters: Parameters, plan: Plan) -> Sequence[Step]:
        return [
            Step(name, partial(_scan, job, one), _TIMEOUT) for name, one in zip(plan.steps, plan.objects, strict=True)
        ]

    async def verify(self, job: Job, _parameters: Parameters, plan: Plan) -> Verdict:
        records = [await _last(job, one["datname"]) for one in plan.objects]
        fresh = [record for record in records if record is not None and record.finished_at >= job.started_at]
        findings = [(record.datname, each) for record in fresh for each in record.findings]
        unread = [f"{name}.{each.shown}" for name, each in findings if each.kind is Kind.UNREAD]
        held = [f"{name}.{each.shown}" for name, each in findings if each.kind is not Kind.UNREAD]
        oldest = min((each.finished_at if each else 0.0 for each in records), default=0.0)
        figures = {"oldest_scan_timestamp_seconds": oldest, "places": len(held), "unread": len(unread)}
        if len(fresh) < len(plan.objects):
            return Verdict(False, f"{len(plan.objects) - len(fresh)} database(s) were not scanned", figures)
        if held:
            return Verdict(False, f"personal data in {len(held)} place(s): {_told(held)}", figures)
        if unread:
            return Verdict(False, f"{len(unread)} place(s) could not be looked at: {_told(unread)}", figures)
        return Verdict(True, f"no personal data in {len(fresh)} database(s)", figures)


async def _scan(job: Job, one: Object) -> Figures:
    people = People() if one["people"] else NOBODY
    for name in one["people"]:
        async with _elsewhere(job, name) as site:
            for database in await databases_of(site.environment, site.connections):
                async with site.connections.acquire(database) as connection:
                    await read_people(connection, people)
    environment = job.environment
    options = scan_options(
        environment.policy.data, environment.tier, people=people, rows=one["rows"], progress=job.progress
    )
    async with job.connections.acquire(one["datname"]) as connection:
        found = await scan(connection, options)
    record = ScanRecord(
        environment=environment.name,
        datname=one["datname"],
        finished_at=job.now(),
        sampled=one["rows"] is not None,
        findings=tuple(found),
    )
    await write_record(first_store(job)[1], record)
    return {"places": len(found), "values": sum(each.count for each in found if each.kind is not Kind.UNREAD)}


@asynccontextmanager
async def _elsewhere(job: Job, name: str) -> AsyncIterator[Job]:
    if job.elsewhere is None:
        raise ActionError(f"{name} is out of reach")
    site = job.elsewhere(name)
    try:
        yield site
    finally:
        await site.changes.close()
        await site.connections.close()


def _peopled(job: Job) -> list[str]:
    return sorted(name for name, tier in job.tiers.items() if tier is Tier.PRODUCTION and name != job.environment.name)


async def _last(job: Job, datname: str) -> ScanRecord | None:
    return await read_record(first_store(job)[1], job.environment.name, datname)


def _told(places: Sequence[str]) -> str:
    more = f" and {len(places) - _TOLD} more" if len(places) > _TOLD else ""
    return "; ".join(places[:_TOLD]) + more
