"""What the ledger keeps out, and the file that it writes into while the state database is away."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.actions.ledger import SPOOL, Entry, Ledger, Subject, clean
from daemon.state import StateDatabase
from fleet.errors import StateAwayError
from fleet.secrets import Secrets


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Of a state database that was never opened: it is away."""
    return Ledger(StateDatabase(None, tmp_path, Secrets(time.monotonic)), tmp_path, lambda: 1000.0)


@pytest.mark.parametrize(
    "data",
    [
        {"bytes": 12, "figures": {"seconds": 1.5, "none": None}, "steps": ["dump", "record"], "ok": True},
        "città 🐘",
        10**30,
        -0.0,
        [],
        None,
    ],
)
def test_clean_keeps_what_is_no_secret(data: Any) -> None:
    assert clean(data) == data
    assert json.loads(json.dumps(clean(data), allow_nan=False)) == data


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ((1, 2), [1, 2]),
        (frozenset({"a"}), ["a"]),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("a\0b", "ab"),
        ("a\ud800b", "a?b"),
        ({"a\0b\udfff": 1}, {"ab?": 1}),
        ({1: 2}, {"1": 2}),
        (Path("/x"), "/x"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02 00:00:00+00:00"),
        (ValueError("password=geheim"), "password=***"),
    ],
)
def test_clean_gives_what_jsonb_takes(data: Any, kept: Any) -> None:
    assert clean(data) == kept


@pytest.mark.parametrize("name", ["password", "api_token", "Secret", "DSN", "db_password_old"])
def test_clean_masks_by_name(name: str) -> None:
    assert clean({"deep": [{name: {"user": "u"}, "kept": 1}]}) == {"deep": [{name: "***", "kept": 1}]}


def test_clean_masks_within_texts() -> None:
    text = "postgresql://u:geheim@h/db failed, password=geheim"
    assert clean({"reason": text}) == {"reason": "postgresql://u:***@h/db failed, password=***"}


async def test_while_it_is_away_entries_go_into_a_file(ledger: Ledger) -> None:
    for number in range(3):
        await ledger.note(Entry.GUARD, Subject("r1", "qa", "backup", "anna"), number=number, reason="token=geheim\n")
    path = ledger.data_dir / SPOOL
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["facts"] for row in rows] == [{"number": n, "reason": "token=***\n"} for n in range(3)]
    assert len({row.pop("uid") for row in rows}) == 3
    del rows[0]["facts"]
    assert rows[0] == {
        "at": 1000.0,
        "entry": "guard",
        "run_id": "r1",
        "environment": "qa",
        "action": "backup",
        "person": "anna",
    }


async def test_what_cannot_be_brought_over_stays(ledger: Ledger) -> None:
    assert await ledger.flush() == 0
    await ledger.note(Entry.GUARD, Subject())
    before = (ledger.data_dir / SPOOL).read_bytes()
    with pytest.raises(StateAwayError):
        await ledger.flush()
    assert (ledger.data_dir / SPOOL).read_bytes() == before


async def test_a_full_disk_is_told(ledger: Ledger) -> None:
    (ledger.data_dir / SPOOL).symlink_to("/dev/full")
    with pytest.raises(OSError, match=os.strerror(28)):
        await ledger.note(Entry.GUARD, Subject())
