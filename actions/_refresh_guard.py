"""Production is never written to, whatever the configuration says: asked in the plan, and again before each step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from actions._action import Job
from actions._restore_place import upstairs
from fleet.backups.facts import databases_of
from fleet.errors import ActionError
from fleet.policy import Tier

# a server tells itself from all others by this number, which its physical copies share
_IDENTITIES = """
    select (select system_identifier from pg_catalog.pg_control_system())::text as system, oid::int8 as oid
    from pg_catalog.pg_database where datname = any($1)
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A database, told from all others whatever it is called."""

    system: str
    oid: int


async def forbid_production(job: Job, database: str) -> None:
    """See that `database` of the job's environment is no production database.

    Raises:
        ActionError: it is one, by its tier or by what its server says; or nobody can tell.
        ConnectError: a production environment cannot be asked.
    """
    name = job.environment.name
    if job.environment.tier is Tier.PRODUCTION or job.tiers.get(name, Tier.PRODUCTION) is Tier.PRODUCTION:
        raise ActionError(f"{name} is a production environment: its data is never replaced")
    mine = await _identities(job, [database])
    if len(mine) != 1:
        raise ActionError(f"{name} has no database {database!r}")
    for other in sorted(each for each, tier in job.tiers.items() if tier is Tier.PRODUCTION):
        async with elsewhere(job, other) as site:
            theirs = await _identities(site, await databases_of(site.environment, site.connections))
        if mine & theirs:
            raise ActionError(
                f"{database} of {name} is a database of {other}, a production environment, or a copy of its server",
                hint=f"does the dsn of {name} lead where it should?",
            )


def source_of(job: Job, named: str | None) -> str:
    """The environment that data comes from: the one that is named, or the only one of tier production."""
    name = job.environment.name
    production = sorted(each for each, tier in job.tiers.items() if tier is Tier.PRODUCTION)
    if named is None and len(production) != 1:
        raise ActionError(f"there are {len(production)} environments of tier production", hint="say which: source")
    source = named or production[0]
    if source not in job.tiers:
        raise ActionError(f"there is no environment {source!r}", hint=f"there are: {', '.join(job.tiers)}")
    if source == name:
        raise ActionError(f"{name} cannot be refreshed from itself")
    return source


@asynccontextmanager
async def elsewhere(job: Job, name: str) -> AsyncIterator[Job]:
    """The same run on another environment. Raises ActionError where there is none of that name."""
    if job.elsewhere is None:
        raise ActionError(f"{name} is out of reach")
    site = job.elsewhere(name)
    try:
        yield site
    finally:
        await site.changes.close()
        await site.connections.close()


async def only_database(job: Job, named: str | None) -> str:
    """The database that is meant: named, or the only one. Raises ActionError."""
    known = await databases_of(job.environment, job.connections)
    if named is None and len(known) == 1:
        return known[0]
    if named is None or named not in known:
        what = f"no database {named!r}" if named is not None else f"{len(known)} databases"
        raise ActionError(f"{job.environment.name} has {what} for us", hint=f"known are: {', '.join(known)}")
    return named


async def _identities(job: Job, databases: list[str]) -> set[Identity]:
    try:
        async with upstairs(job.connections) as connection:
            return {Identity(row["system"], row["oid"]) for row in await connection.fetch(_IDENTITIES, databases)}
    except asyncpg.InsufficientPrivilegeError as error:
        raise ActionError(
            f"the role of {job.environment.name} may not ask which server it is on",
            hint="grant it EXECUTE on pg_control_system(): whether it is production must be known",
        ) from error
