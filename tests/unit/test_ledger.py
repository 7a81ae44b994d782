"""The ledger: what is written is there after any end of the process, and holds no secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.actions.ledger import Entry, Ledger, clean, read_entries
from daemon.actions.request import Request, Result
from fleet.errors import DaemonError


def request(action: str = "backup", environment: str = "qa", key: str = "k1") -> Request:
    return Request(environment, action, key, "alert BackupTooOld", 100.0, "old", {"databases": ["app"]}, {"a": "b"})


async def a_run(ledger: Ledger, run_id: str, at: float, result: Result | None, asked: Request | None = None) -> None:
    await ledger.request(run_id, asked or request())
    await ledger.append(Entry.GUARD, run_id, at, allowed=True)
    if result is not None:
        await ledger.append(Entry.OUTCOME, run_id, at + 5, result=result.value, reason="r")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "actions.jsonl"


async def test_history_is_by_environment_and_action_newest_first_and_survives(path: Path) -> None:
    ledger = Ledger.open(path)
    await a_run(ledger, "r1", 1000, Result.FAILED)
    await a_run(ledger, "r2", 2000, Result.FIXED)
    await a_run(ledger, "r3", 3000, Result.FIXED, request("analyze"))
    await a_run(ledger, "r4", 4000, None)
    await a_run(ledger, "r5", 5000, Result.FIXED, request(environment="production"))
    before = ledger.history("qa", "backup")
    assert [(run.result, run.at, run.key) for run in before.ended] == [
        (Result.FIXED, 2005, "k1"),
        (Result.FAILED, 1005, "k1"),
    ]
    assert list(before.running) == ["r4"]
    assert sorted(before.begun) == [1000, 2000, 3000, 4000]
    ledger.close()

    again = Ledger.open(path)
    assert again.history("qa", "backup") == before
    assert again.unfinished() == ["r4"]
    assert again.request_of("r4") == request()
    assert again.request_of("nobody") is None
    assert [entry["entry"] for entry in again.entries("r1")] == ["requested", "guard", "outcome"]
    again.close()


async def test_a_refusal_is_written_but_is_no_run(path: Path) -> None:
    ledger = Ledger.open(path)
    await ledger.request("r1", request())
    await ledger.append(Entry.GUARD, "r1", 1, allowed=False, ground="stopped", reason="all actions are stopped")
    assert ledger.unfinished() == []
    history = ledger.history("qa", "backup")
    assert (history.running, history.ended, history.begun) == ([], [], [])
    assert ledger.entries("r1")[1]["reason"] == "all actions are stopped"
    ledger.close()


@pytest.mark.parametrize("torn", [b'{"at": 9, "run": "r2", "ent', b"\xff\xfe", b'{"at": 9}', b"[1, 2]", b'"text"'])
async def test_a_torn_last_line_loses_only_itself(path: Path, torn: bytes) -> None:
    ledger = Ledger.open(path)
    await a_run(ledger, "r1", 1000, Result.FIXED)
    ledger.close()
    with path.open("ab") as file:
        file.write(torn)

    with capture_logs() as logs:
        ledger = Ledger.open(path)
    assert [entry["event"] for entry in logs] == ["ledger_line_unreadable"]
    await a_run(ledger, "r3", 3000, Result.FIXED)
    ledger.close()
    ledger = Ledger.open(path)
    assert [run.at for run in ledger.history("qa", "backup").ended] == [3005, 1005]
    ledger.close()


async def test_an_entry_of_an_unknown_make_is_left_out(path: Path) -> None:
    ledger = Ledger.open(path)
    await a_run(ledger, "r1", 1000, None)
    ledger.close()
    with path.open("a") as file:
        file.write(json.dumps({"at": 1, "run": "r1", "entry": "outcome", "result": "wonderful"}) + "\n")
    ledger = Ledger.open(path)
    assert ledger.unfinished() == ["r1"]
    ledger.close()


def test_one_process_at_a_time(path: Path) -> None:
    ledger = Ledger.open(path)
    with pytest.raises(DaemonError, match="held by another process"):
        Ledger.open(path)
    ledger.close()
    Ledger.open(path).close()


async def test_others_may_read_meanwhile(path: Path) -> None:
    ledger = Ledger.open(path)
    await a_run(ledger, "r1", 1000, Result.FIXED)
    assert len(read_entries(path)) == 3
    ledger.close()


async def test_a_full_disk_is_told_and_the_entry_counts_until_the_end(path: Path) -> None:
    ledger = Ledger.open(path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, ledger._file.fileno())
    os.close(full)
    with pytest.raises(DaemonError, match="cannot be written"):
        await ledger.request("r1", request())
    with pytest.raises(DaemonError):
        await ledger.append(Entry.GUARD, "r1", 1, allowed=True)
    assert list(ledger.history("qa", "backup").running) == ["r1"]
    ledger.close()


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DaemonError, match="cannot be opened"):
        Ledger.open(tmp_path / "file" / "actions.jsonl")


async def test_no_secret_reaches_the_file(path: Path) -> None:
    ledger = Ledger.open(path)
    parameters = {"api_token": "geheim1", "target": "postgresql://u:geheim2@h/db", "deep": [{"password": "geheim3"}]}
    await ledger.request("r1", Request("qa", "backup", "k", "cli", 1.0, "see password=geheim4", parameters))
    await ledger.append(Entry.OUTCOME, "r1", 2.0, result="failed", reason="cannot reach postgresql://u:geheim5@h/db")
    ledger.close()
    assert_clean(path)


def assert_clean(path: Path) -> None:
    text = path.read_text()
    assert "geheim" not in text
    assert text.count("***") == 5
    assert path.stat().st_mode & 0o777 == 0o600


def test_clean_keeps_what_is_no_secret() -> None:
    data = {"bytes": 12, "figures": {"seconds": 1.5, "none": None}, "steps": ("dump", "record"), "ok": True}
    assert clean(data) == {**data, "steps": ["dump", "record"]}
