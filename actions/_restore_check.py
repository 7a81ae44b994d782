"""Whether a restored database is what was backed up: its rows, its schema, its indexes, what people ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from actions._restore_load import Wanted
from actions._restore_place import Place
from actions._restore_rows import RowComparison
from actions._restore_schema import compare_schema
from actions._restore_source import Source
from actions._restore_vectors import unused_vector_indexes
from fleet.connections import Connection

_SMOKE_SECONDS = 60.0
_INVALID = """
    select format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_index x
        join pg_catalog.pg_class c on c.oid = x.indexrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'i' and not (x.indisvalid and x.indisready) and n.nspname !~ '^pg_' order by 1
"""


@dataclass(slots=True)
class Findings:
    """`problems` make it no good copy; `notes` are for people. `rows` of `tables` tables were compared one by one."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: int = 0
    tables: int = 0


async def check(
    place: Place, source: Source, wanted: Wanted, *, smoke: Sequence[str], vectors: bool = True, skipped: str = ""
) -> Findings:
    """Read all of it again and compare. `vectors`: their indexes must be there; `skipped` foreign keys need not.

    Raises:
        CustodeError, asyncpg.PostgresError, OSError: it could not be checked, which is no answer.
    """
    findings = Findings()
    if not wanted.schema_only:
        comparison = RowComparison(place, source, wanted)
        findings.problems += await comparison.run()
        findings.rows, findings.tables = comparison.rows, comparison.tables
    left_out = frozenset(skipped.split(", ")) if skipped else frozenset[str]()
    schema = await compare_schema(place, source, vectors=vectors, left_out=left_out)
    findings.problems += schema.problems
    findings.notes += schema.notes
    async with place.job.connections.acquire(place.database) as connection:
        await _compare_extensions(connection, source, findings)
        findings.problems += [f"the index {row[0]} is invalid" for row in await connection.fetch(_INVALID)]
        if vectors:
            findings.problems += await unused_vector_indexes(connection)
        for query in () if wanted.schema_only or wanted.tables is not None else smoke:
            findings.problems += await _ask(connection, query)
    return findings


async def _compare_extensions(connection: Connection, source: Source, findings: Findings) -> None:
    records = await connection.fetch("select extname, extversion from pg_catalog.pg_extension")
    found = {record["extname"]: record["extversion"] for record in records}
    for name, version in source.snapshot.extensions.items():
        if name not in found:
            findings.problems.append(f"the extension {name} is missing")
        elif found[name] != version:
            findings.notes.append(f"the extension {name} is of version {found[name]}, it was {version}")


async def _ask(connection: Connection, query: str) -> list[str]:
    """A smoke query of the configuration must give one true or non-zero value."""
    try:
        async with connection.transaction(readonly=True):
            await connection.execute(f"set local statement_timeout = '{_SMOKE_SECONDS:.0f}s'")
            answers = await connection.fetch(query)
    except asyncpg.PostgresError as error:
        return [f"the smoke query {query!r} fails: {error}"]
    if len(answers) != 1 or not answers[0] or not answers[0][0]:
        return [f"the smoke query {query!r} gives nothing, false or zero"]
    return []
