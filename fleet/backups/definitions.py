"""What pg_dump gives for a snapshot: definitions, the rows of small tables, keys and indexes, as three files of SQL."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from fleet.backups.session import LOCK_WAIT
from fleet.backups.tables import LargeTable
from fleet.client_tools import Tool
from fleet.process import run

SECTIONS = ("pre-data", "data", "post-data")
_EDGE_BYTES = 1 << 16
# psql's guard against commands in a dump: with a key that differs each time; whoever restores writes a new one
_GUARD = re.compile(rb"^\\(?:un)?restrict [A-Za-z0-9]+\n", re.MULTILINE)
# Servers since 15.20 keep a number of their own with each column, which their pg_dump leaves out; one that is older
# than that fix tells it, and other servers refuse it
_INTERNAL = re.compile(rb"^ALTER TABLE (?:ONLY )?\S.* ALTER COLUMN \S.* SET \(pg_attver=\d+\);\n", re.MULTILINE)
# a dump without rows does not fill materialized views
_VARYING = re.compile(
    rb"^-- Dumped (?:from database|by pg_dump) version .*\n"
    rb"|^--\n-- Name: [^\n]*; Type: MATERIALIZED VIEW DATA; [^\n]*\n--\n\n.*\n\n\n",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Definitions:
    """Paths of the SQL of each section, by its name."""

    files: Mapping[str, Path]

    def fingerprint(self) -> str:
        """Of the schema: equal where pg_dump tells the same of it."""
        told = hashlib.sha256()
        for section in ("pre-data", "post-data"):
            told.update(_VARYING.sub(b"", self.files[section].read_bytes()))
        return told.hexdigest()


async def dump_definitions(
    pg_dump: Tool,
    pg_restore: Tool,
    variables: Mapping[str, str],
    folder: Path,
    *,
    snapshot: str | None,
    excluded: Sequence[LargeTable] = (),
    schema_only: bool = False,
) -> Definitions:
    """Run pg_dump once and write its sections into `folder`, without the rows of the `excluded` tables.

    Raises:
        ProcessError: pg_dump or pg_restore fails.
    """
    archive = folder / "archive"
    await run(
        [
            pg_dump.path,
            "--format=custom",
            "--compress=0",
            "--no-password",
            f"--lock-wait-timeout={LOCK_WAIT}",
            *([f"--snapshot={snapshot}"] if snapshot else []),
            *(["--schema-only"] if schema_only else []),
            *(f"--exclude-table-data={_pattern(table)}" for table in excluded),
            f"--file={archive}",
        ],
        env={**variables, "PGTZ": "UTC"},
    )
    files = {section: folder / f"{section}.sql" for section in SECTIONS}
    for section, path in files.items():
        await run([pg_restore.path, f"--section={section}", f"--file={path}", archive], env=variables)
        await asyncio.to_thread(_take_guard_away, path)
    await asyncio.to_thread(_take_internals_away, files["pre-data"])
    archive.unlink()
    return Definitions(files)


def compress(source: Path, target: Path, level: int) -> int:
    """Write `source` as a zstd frame; returns the size of `source` in bytes."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    with source.open("rb") as plain, target.open("wb") as stored:
        read, _ = compressor.copy_stream(plain, stored, size=source.stat().st_size)
    return int(read)


def _pattern(table: LargeTable) -> str:
    """A pattern of pg_dump that matches this table alone: within quotes nothing is special but the quote."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in (table.schema_name, table.name))


def _take_guard_away(path: Path) -> None:
    """The lines stand near the beginning and at the end; files are large where there are large objects."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        head = file.read(min(_EDGE_BYTES, size))
        match = _GUARD.search(head)
        if match is None:
            return
        # overwritten by an empty comment of the same length: a gigabyte need not be moved
        file.seek(match.start())
        file.write(_comment(len(match[0])))
        start = max(0, size - _EDGE_BYTES)
        file.seek(start)
        tail = file.read()
        last = [found for found in _GUARD.finditer(tail) if found[0].startswith(b"\\unrestrict")][-1:]
        for found in last:
            file.seek(start + found.start())
            file.write(_comment(len(found[0])))


def _take_internals_away(path: Path) -> None:
    told = path.read_bytes()
    if (kept := _INTERNAL.sub(b"", told)) != told:
        path.write_bytes(kept)


def _comment(size: int) -> bytes:
    return b"-" * (size - 1) + b"\n"
