"""What one database says of its schema, and which database of the reference it has to match."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import asyncpg

from collectors import Session, Target
from fleet.errors import CustodeError
from fleet.revisions import read_rows
from fleet.schema import Catalogue, Flight, read_catalogue, read_flight


@dataclass(frozen=True, slots=True)
class SchemaFacts:
    """`revisions` are the rows of the version table (None: not there, or not readable).

    `catalogue` is None where it cannot be read now, as with a table that somebody holds locked.
    """

    database: str
    revisions: tuple[str, ...] | None
    catalogue: Catalogue | None
    flight: Flight

    @property
    def settled(self) -> Catalogue | None:
        """The catalogue, unless a migration is changing it."""
        return None if self.flight.migrating else self.catalogue


async def read_facts(target: Target, session: Session) -> SchemaFacts:
    table = target.environment.migrations.version_table
    return SchemaFacts(
        session.database,
        await _revisions(target, session, table),
        await _catalogue(target, session),
        await read_flight(session.connection, table),  # last: what began while we read is seen
    )


async def reference_facts(target: Target) -> dict[str, SchemaFacts]:
    """Those of the reference environment, by database; empty where there is none, it is us, or it cannot be read."""
    reference = target.reference
    if reference is None or not target.environment.policy.same_schema:
        return {}

    async def read(session: Session) -> list[SchemaFacts]:
        return [await read_facts(reference, session)]

    try:
        found = await reference.each(read)
    except (CustodeError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        target.gap(f"schema of {reference.environment.name}", f"it is the reference and was not read: {error}")
        return {}
    for what, failure in reference.failures.items():
        target.gap(
            f"schema of {reference.environment.name}", f"it is the reference and was not read: {what}: {failure}"
        )
    return {facts.database: facts for facts in found}


def counterparts(databases: Collection[str], reference: Collection[str]) -> Mapping[str, str]:
    """Which database has to match which: that of the same name, and what is left where it is one on both sides."""
    pairs = {name: name for name in databases if name in reference}
    ours = [name for name in databases if name not in pairs]
    theirs = [name for name in reference if name not in pairs]
    if len(ours) == len(theirs) == 1:
        pairs[ours[0]] = theirs[0]
    return pairs


async def _revisions(target: Target, session: Session, table: str) -> tuple[str, ...] | None:
    try:
        return await read_rows(session.connection, table)
    except asyncpg.InsufficientPrivilegeError:
        target.gap(f"{session.database}.{table}", "the role may not read this table")
    except asyncpg.PostgresError as error:
        target.failed(f"{session.database}.{table}", error)
    return None


async def _catalogue(target: Target, session: Session) -> Catalogue | None:
    try:
        return await read_catalogue(session.connection)
    except asyncpg.PostgresError as error:
        target.failed(f"{session.database} schema", error)
        return None
