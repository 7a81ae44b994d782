"""Backups that other programs leave as files on this machine, such as the cron scripts of the strategy guide.

They are found by pattern, listed and counted for the age of the last backup; never removed, never restored.
"""

from __future__ import annotations

import glob
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

_TIME = re.compile(r"(?<!\d)(\d{8})[_T-]?(\d{6})(?!\d)")
_SETTLED_SECONDS = 60.0  # what changed since may still be written
_END_BYTES = 4096
_COMPLETE = b"dump complete"  # the last line of pg_dump and pg_dumpall but for \unrestrict
_MAGIC = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".dump": b"PGDMP", ".pgdump": b"PGDMP"}
_EMPTY_GZIP_BYTES = 64  # gzip of nothing is 20 bytes and the name of the file


@dataclass(frozen=True, slots=True)
class GuideFile:
    """`at` (unix seconds) is when it was taken: by its name, else when it last changed. `problem`: why it is none."""

    path: Path
    at: float
    size_bytes: int
    problem: str | None = None


def find_files(patterns: Iterable[str], now: float, zone: tzinfo | None = None) -> list[GuideFile]:
    """What is there by these patterns (`/backups/qa/*.sql.gz`; `**` for any folders), oldest first.

    A time in a name (`prod_backup_20251120_080000.sql.gz`) is read in `zone`; None is the machine's, as `date` has it.
    A file that is empty, cut off, of another format than it says, or still being written has a `problem`. Only both
    ends of each file are looked at; blocks. What vanishes meanwhile is left out.
    """
    found: dict[Path, GuideFile] = {}
    for pattern in patterns:
        for name in glob.glob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
            path = Path(name)
            if path not in found and (file := _look(path, now, zone)) is not None:
                found[path] = file
    return sorted(found.values(), key=lambda file: (file.at, file.path))


def _look(path: Path, now: float, zone: tzinfo | None) -> GuideFile | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_mtime > now - _SETTLED_SECONDS:
            problem: str | None = "it changed within the last minute: it may not be finished"
        else:
            problem = _problem(path, status.st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        return GuideFile(path, 0.0, 0, f"it cannot be read: {error.strerror}")
    return GuideFile(path, _taken_at(path.name, status.st_mtime, zone), status.st_size, problem)


def _taken_at(name: str, modified: float, zone: tzinfo | None) -> float:
    match = _TIME.search(name)
    if match is None:
        return modified
    try:
        at = datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S").replace(tzinfo=zone).timestamp()
    except ValueError:
        return modified
    return min(at, modified)  # a name that lies ahead is of another zone; none begins after it ended


def _problem(path: Path, size_bytes: int) -> str | None:
    if not size_bytes:
        return "it is empty"
    with path.open("rb") as file:
        beginning = file.read(8)
        file.seek(max(0, size_bytes - _END_BYTES))
        end = file.read()
    magic = _MAGIC.get(path.suffix)
    if magic is not None and not beginning.startswith(magic):
        return f"it is no {path.suffix} file"
    if path.suffix == ".gz" and size_bytes < _EMPTY_GZIP_BYTES and end[-4:] == bytes(4):
        return "there is nothing in it: the dump failed"
    if path.suffix == ".sql" and _COMPLETE not in end:
        return "its end is missing"
    return None
