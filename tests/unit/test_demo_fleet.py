"""What the demonstration refuses before it starts any server."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from daemon.demo import schema
from daemon.demo.fleet import DemoFleet, temporary_directory
from daemon.demo.sites import SITES
from fleet.errors import DaemonError


def silent(_environment: str, _done: int, _total: int) -> None:
    pass


async def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        await DemoFleet.start(tmp_path / "demo", 399, silent)
    assert "400" in str(caught.value.hint)
    assert not (tmp_path / "demo").exists()


async def test_a_directory_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DaemonError, match="another demonstration"):
            await DemoFleet.start(tmp_path, 2000, silent)
    assert not (tmp_path / "production").exists()


def test_a_temporary_directory_may_be_entered_by_the_servers_user() -> None:
    directory = temporary_directory()
    try:
        assert directory.stat().st_mode & 0o777 == 0o755
    finally:
        directory.rmdir()


def test_only_qa_is_behind() -> None:
    assert {site.name for site in SITES if site.revision != schema.DEPLOYED} == {"qa"}
    assert {site.database for site in SITES} == {"aifinance", "pratikoai_qa", "pratikoai_preprod", "pratikoai_prod"}
