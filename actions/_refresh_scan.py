"""The independent scan of the new database: whatever it finds keeps it from being swapped."""

from __future__ import annotations

from collections.abc import Sequence

from actions._action import Figures, Job, Object
from actions._refresh_guard import elsewhere
from actions._refresh_source import read_people_of
from actions._restore_place import Place
from fleet.backups.facts import databases_of
from fleet.data.refused import write_refused
from fleet.data.scan import Finding, People, scan, scan_options
from fleet.data.scan.records import ScanRecord
from fleet.errors import ActionError
from fleet.policy import Tier

_TOLD = 20


async def scan_new(place: Place, planned: Object, people: People) -> Figures:
    """Scan all rows, statistics and the catalogue, before it becomes the planned database.

    Looked for is also whoever is in production, and `people`, to whom those are added.

    Raises:
        ActionError: there is personal data, or something could not be looked at; the message has places and counts.
    """
    job = place.job
    await _add_production(job, people, planned["source"], planned["source_datname"])
    options = scan_options(job.environment.policy.data, job.environment.tier, people=people, progress=job.progress)
    async with job.connections.acquire(place.database) as connection:
        findings = await scan(connection, options)
    if findings:
        for store in list(job.stores.values())[:1]:
            await write_refused(store, _record(job, planned["datname"], findings))
        raise _found(findings)
    job.data["scanned_at"] = job.now()
    return {"findings": 0}


async def _add_production(job: Job, people: People, source: str, source_datname: str) -> None:
    """Everybody in the source, and in every production environment where the source is none."""
    if job.tiers.get(source) is Tier.PRODUCTION:
        async with elsewhere(job, source) as site:
            await read_people_of(site, source_datname, people)
        return
    for name in sorted(each for each, tier in job.tiers.items() if tier is Tier.PRODUCTION):
        async with elsewhere(job, name) as site:
            for database in await databases_of(site.environment, site.connections):
                await read_people_of(site, database, people)


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
