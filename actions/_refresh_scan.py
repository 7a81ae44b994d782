"""The independent scan of the new database: whatever it finds keeps it from being swapped."""

from __future__ import annotations

from collections.abc import Sequence

from actions._action import Figures, Job
from actions._refresh_guard import elsewhere
from actions._restore_place import Place
from fleet.backups.facts import databases_of
from fleet.data.refused import write_refused
from fleet.data.scan import Finding, People, read_people, scan, scan_options
from fleet.data.scan.records import ScanRecord
from fleet.errors import ActionError
from fleet.policy import Tier

_TOLD = 20


async def scan_new(place: Place, datname: str, source: str, source_datname: str) -> Figures:
    """Scan all rows, statistics and the catalogue, for whoever is in production, too, before it becomes `datname`.

    Raises:
        ActionError: there is personal data, or something could not be looked at; the message has places and counts.
    """
    job = place.job
    people = await _people(job, source, source_datname)
    options = scan_options(job.environment.policy.data, job.environment.tier, people=people, progress=job.progress)
    async with job.connections.acquire(place.database) as connection:
        findings = await scan(connection, options)
    if findings:
        for store in list(job.stores.values())[:1]:
            await write_refused(store, _record(job, datname, findings))
        raise _found(findings)
    job.data["scanned_at"] = job.now()
    return {"findings": 0}


async def _people(job: Job, source: str, source_datname: str) -> People:
    """Everybody in the source, and in every production environment where the source is none."""
    people = People()
    if job.tiers.get(source) is Tier.PRODUCTION:
        async with elsewhere(job, source) as site, site.connections.acquire(source_datname) as connection:
            return await read_people(connection, people)
    for name in sorted(each for each, tier in job.tiers.items() if tier is Tier.PRODUCTION):
        async with elsewhere(job, name) as site:
            for database in await databases_of(site.environment, site.connections):
                async with site.connections.acquire(database) as connection:
                    await read_people(connection, people)
    return people


def _record(job: Job, datname: str, findings: Sequence[Finding]) -> ScanRecord:
    return ScanRecord(
        environment=job.environment.name,
        datname=datname,
        finished_at=job.now(),
        sampled=False,
        findings=tuple(findings),
    )


def _found(findings: Sequence[Finding]) -> ActionError:
    """In places and counts."""
    told = [f"- {one.shown}" for one in findings[:_TOLD]]
    more = [f"- and {len(findings) - _TOLD} more places"] if len(findings) > _TOLD else []
    return ActionError(
        "\n".join(["the masked data holds personal data, and is not used:", *told, *more]),
        hint="decide otherwise on these columns in policy.data.columns, then refresh again",
    )
