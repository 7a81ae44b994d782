"""The schema of a restored database by pg_dump's own words, compared with those that the snapshot holds."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from actions._restore_place import SCHEMA, Place
from actions._restore_source import Source
from fleet.backups.definitions import dump_definitions
from fleet.backups.libpq import client_environment
from fleet.backups.post_data import Entry, Phase, SplitError, by_phase, parse
from fleet.backups.reader import read_text
from fleet.client_tools import Tool, find_tool
from fleet.errors import ActionError

_TOLD = 3
_ROWS = frozenset({"MATERIALIZED VIEW DATA", "STATISTICS DATA", "SEQUENCE SET"})  # not told of a schema alone
_EMPTY_VIEWS = """
    select n.nspname::text, c.relname::text from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'm' and not c.relispopulated
"""
Said = tuple[str, str, str, str]  # kind, schema, name, SQL


@dataclass(slots=True)
class SchemaFindings:
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def compare_schema(place: Place, source: Source, *, vectors: bool, left_out: frozenset[str]) -> SchemaFindings:
    """Without `vectors` their indexes may be missing, as may the foreign keys of the names `left_out`.

    Another version of server or pg_dump may say the same in other words: then only what there is is compared.

    Raises:
        ProcessError, StoreError: it could not be compared.
    """
    findings = SchemaFindings()
    pg_dump = await find_tool("pg_dump", place.job.client_tools)
    pg_restore = await find_tool("pg_restore", place.job.client_tools)
    label = f"custode/{place.job.run_id}/{place.job.attempt}"
    variables = await client_environment(
        place.job.environment, place.job.secrets, place.database, application_name=label
    )
    with tempfile.TemporaryDirectory(prefix="custode-schema-") as name:
        folder = Path(name)
        found = await dump_definitions(pg_dump, pg_restore, variables, folder, snapshot=None, schema_only=True)
        if found.fingerprint() == source.snapshot.fingerprint:
            return findings
        now = [found.files[section].read_text(errors="surrogateescape") for section in ("pre-data", "post-data")]
    before = [await _text(source, section) for section in ("pre_data", "post_data")]
    try:
        stored, restored = _entries(before), _entries(now)
    except SplitError as error:
        raise ActionError(f"the schema cannot be compared: {error}") from error
    findings.problems += await _unfilled_views(place, stored)
    stored = [entry for entry in stored if entry.kind not in _ROWS]
    stored = [entry for entry in stored if not (entry.kind == "FK CONSTRAINT" and entry.name in left_out)]
    if not vectors:
        late = {entry.key for entry in by_phase(stored)[Phase.VECTOR_INDEX]}
        stored, restored = ([entry for entry in some if entry.key not in late] for some in (stored, restored))
    alike = await _speaks_alike(place, source, pg_dump)
    missing, more = _difference(stored, restored, texts=alike)
    findings.problems += _told(missing, "is missing or different") + _told(more, "is different, or more than there was")
    if not alike and not findings.problems:
        findings.notes.append("another version of server or pg_dump: the schema was compared by names alone")
    return findings


async def _unfilled_views(place: Place, stored: list[Entry]) -> list[str]:
    async with place.job.connections.acquire(place.database) as connection:
        empty = {tuple(row) for row in await connection.fetch(_EMPTY_VIEWS)}
    filled = {(entry.schema, entry.name) for entry in stored if entry.kind == "MATERIALIZED VIEW DATA"}
    return [f"the materialized view {'.'.join(name)} was not filled" for name in sorted(empty & filled)]


async def _speaks_alike(place: Place, source: Source, pg_dump: Tool) -> bool:
    async with place.job.connections.acquire(place.database) as connection:
        major = connection.get_server_version().major
    before = (source.manifest.server_version or "").split(".")[0]
    return before == str(major) and source.manifest.tool_version == ".".join(map(str, pg_dump.version))


async def _text(source: Source, section: str) -> str:
    parts = read_text(source.pool, getattr(source.snapshot, section))
    return b"".join([part async for part in parts]).decode(errors="surrogateescape")


def _entries(texts: Iterable[str]) -> list[Entry]:
    found = [entry for text in texts for entry in parse(text).entries]
    return [
        entry
        for entry in found
        if SCHEMA not in (entry.schema, entry.name)
        and not (entry.kind == "COMMENT" and entry.name.startswith("EXTENSION "))  # of the extension's version
    ]


def _difference(stored: list[Entry], restored: list[Entry], *, texts: bool) -> tuple[list[Said], list[Said]]:
    before, now = (
        Counter((e.kind, e.schema, e.name, " ".join(e.sql.split()) if texts else "") for e in entries)
        for entries in (stored, restored)
    )
    return sorted((before - now).elements()), sorted((now - before).elements())


def _told(entries: list[Said], what: str) -> list[str]:
    said = [f"{kind.lower()} {schema}.{name} {what}" for kind, schema, name, _ in entries[:_TOLD]]
    return said + ([f"{len(entries) - _TOLD} more of the schema"] if len(entries) > _TOLD else [])
