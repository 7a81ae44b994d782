from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import zstandard

from fleet.backups.guide_files import find_files

NOW = 1_800_000_000.0
OLD = NOW - 100_000
NAME = "prod_backup_20251120_080000.sql.gz"
TAKEN = datetime(2025, 11, 20, 8, tzinfo=UTC).timestamp()
DUMP = b"-- PostgreSQL database dump\n" + b"select 1;\n" * 2000 + b"--\n-- PostgreSQL database dump complete\n--\n\n"


def write(path: Path, content: bytes, modified: float = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))
    return path


def test_the_guides_folders_are_found(tmp_path: Path) -> None:
    hourly = write(tmp_path / "hourly" / NAME, gzip.compress(DUMP))
    daily = write(tmp_path / "daily" / "prod_backup_20251119_000000.sql.gz", gzip.compress(DUMP), OLD + 5)
    write(tmp_path / "daily" / "notes.txt", b"no backup")
    (tmp_path / "daily" / "prod_backup_20251118_000000.sql.gz").mkdir()
    found = find_files([f"{tmp_path}/*/prod_backup_*.sql.gz", f"{tmp_path}/hourly/*.gz"], NOW, UTC)
    assert [(file.path, file.problem) for file in found] == [(daily, None), (hourly, None)]
    assert found[1].at == TAKEN
    assert found[1].size_bytes == hourly.stat().st_size


def test_a_name_is_read_in_the_zone_of_who_wrote_it(tmp_path: Path) -> None:
    write(tmp_path / NAME, gzip.compress(DUMP))
    (file,) = find_files([f"{tmp_path}/*"], NOW, ZoneInfo("Europe/Rome"))
    assert file.at == TAKEN - 3600


@pytest.mark.parametrize(
    ("name", "modified"), [("dump.sql.gz", OLD), ("b_20251399_996000.sql.gz", OLD), (NAME, TAKEN - 60)]
)
def test_else_a_file_is_as_old_as_its_last_change(tmp_path: Path, name: str, modified: float) -> None:
    write(tmp_path / name, gzip.compress(DUMP), modified)
    (file,) = find_files([f"{tmp_path}/*"], NOW, UTC)
    assert file.at == modified


@pytest.mark.parametrize(
    ("name", "content", "modified", "problem"),
    [
        (NAME, b"", OLD, "it is empty"),
        (NAME, gzip.compress(b"", mtime=0), OLD, "there is nothing in it: the dump failed"),
        (NAME, DUMP, OLD, "it is no .gz file"),
        (NAME, gzip.compress(DUMP, mtime=0), NOW - 5, "it changed within the last minute: it may not be finished"),
        ("a.dump", b"PGDM", OLD, "it is no .dump file"),
        ("a.dump", b"PGDMP\x01", OLD, None),
        ("a.sql", DUMP[:-60], OLD, "its end is missing"),
        ("a.sql", DUMP + b"\\unrestrict abc\n\n", OLD, None),
        ("a.sql.zst", zstandard.compress(DUMP), OLD, None),
    ],
)
def test_what_is_no_backup_says_why(
    tmp_path: Path, name: str, content: bytes, modified: float, problem: str | None
) -> None:
    write(tmp_path / name, content, modified)
    (file,) = find_files([f"{tmp_path}/*"], NOW, UTC)
    assert file.problem == problem


def test_nothing_there_is_nothing(tmp_path: Path) -> None:
    assert find_files([f"{tmp_path}/none/*.gz"], NOW) == []
