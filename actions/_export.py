"""A snapshot as pg_dump's own file: restored on a scratch server, and dumped from there."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from actions._action import Job
from actions._restoration import Restoration
from actions._restore_indexes import Build
from actions._restore_load import Wanted
from actions._restore_place import SCHEMA, Place
from actions._restore_source import Source
from actions._scratch import scratch
from fleet.backups.libpq import client_environment
from fleet.backups.manifest import Blob
from fleet.backups.reader import read_text
from fleet.client_tools import find_tool
from fleet.errors import ActionError
from fleet.process import run

SUFFIXES = (".sql", ".sql.gz", ".dump")
_WORKERS = 2


def suffix_of(target: Path) -> str:
    """Raises ActionError where the name does not tell the format, or there is such a file."""
    if target.exists():
        raise ActionError(f"{target} exists already", hint="name another file, or remove it yourself")
    for suffix in SUFFIXES:
        if target.name.endswith(suffix):
            return suffix
    raise ActionError(f"{target.name} tells no format", hint=f"let it end with {', '.join(SUFFIXES)}")


async def export_snapshot(job: Job, source: Source, target: Path) -> int:
    """Write `target`, by its name SQL, SQL in gzip, or pg_dump's custom format; returns its size in bytes.

    SQL needs no index built: what pg_dump said of keys and indexes is in the snapshot.

    Raises:
        ActionError, ProcessError, StoreError, DaemonError: there is no file then.
        OSError: the file cannot be written.
    """
    suffix = await asyncio.to_thread(suffix_of, target)
    with tempfile.TemporaryDirectory(prefix=".custode-export-", dir=target.parent) as name:
        folder = Path(name)
        async with scratch(job) as site:
            place = Place(site, f"custode_export_{job.run_id}"[:63])
            build = Build(Wanted(workers=_WORKERS), None)
            restoration = Restoration(job, place, source, build, create_roles=True, any_locale=True)
            await restoration.load()
            if suffix == ".dump":
                await restoration.keys()
                await restoration.vectors()
            made = folder / "dumped"
            options = ["--format=custom"] if suffix == ".dump" else ["--section=data", f"--exclude-schema={SCHEMA}"]
            await _dump(place, made, options)
        if suffix != ".dump":
            parts = [await _text(source, source.snapshot.pre_data, folder / "pre"), made]
            parts.append(await _text(source, source.snapshot.post_data, folder / "post"))
            made = folder / "whole"
            await asyncio.to_thread(_join, parts, made, compressed=suffix == ".sql.gz")
        size = await asyncio.to_thread(lambda: made.stat().st_size)
        await asyncio.to_thread(made.rename, target)
    return size


async def _dump(place: Place, target: Path, options: Iterable[str]) -> None:
    tool = await find_tool("pg_dump", place.job.client_tools)
    variables = await client_environment(place.job.environment, place.job.secrets, place.database)
    await run([tool.path, "--no-password", *options, f"--file={target}"], env=variables)


async def _text(source: Source, blob: Blob, target: Path) -> Path:
    with target.open("wb") as file:
        async for part in read_text(source.pool, blob):
            await asyncio.to_thread(file.write, part)
    return target


def _join(parts: Iterable[Path], target: Path, *, compressed: bool) -> None:
    with target.open("wb") as plain:
        into: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=plain, mode="wb") if compressed else plain
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, into, 1 << 20)
        if into is not plain:
            into.close()
