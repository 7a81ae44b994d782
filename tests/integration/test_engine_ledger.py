"""The ledger on a real database: what is asked of it, what it keeps out, and the file for when it is away."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon.actions.ledger import SPOOL, Entry, Ledger, Subject
from daemon.actions.views import LedgerFilter
from daemon.state import StateDatabase, raw
from fleet.errors import StateRefusedError

ODD = "a\u2028b\x85c\0d\ud800e\r\nf"


@pytest.fixture
def ledger(state: StateDatabase, tmp_path: Path) -> Ledger:
    return Ledger(state, tmp_path, time.time)


async def count(ledger: Ledger) -> int:
    return len(await ledger.entries(LedgerFilter(limit=100_000)))


async def test_what_is_asked_of_it(ledger: Ledger) -> None:
    moments = iter(range(1000, 1100))
    ledger.now = lambda: float(next(moments))
    for number in range(12):
        environment, action = ("qa", "dev")[number % 2], ("backup", "vacuum", "analyze")[number % 3]
        person = "anna" if number % 4 == 0 else None
        entry = Entry.STEP if number % 6 else Entry.OUTCOME
        await ledger.note(entry, Subject(f"r{number // 4}", environment, action, person), number=number)

    async def numbers(**wanted: object) -> list[int]:
        return [each.facts["number"] for each in await ledger.entries(LedgerFilter(**wanted))]  # type: ignore[arg-type]

    assert await numbers() == list(range(11, -1, -1))
    assert await numbers(run_id="r1") == [7, 6, 5, 4]
    assert await numbers(environment="qa", action="backup") == [6, 0]
    assert await numbers(person="anna") == [8, 4, 0]
    assert await numbers(entry="outcome") == [6, 0]
    assert await numbers(since=1009.0) == [11, 10, 9]
    assert await numbers(run_id="nobody") == []
    pages, before = [], None
    while page := await ledger.entries(LedgerFilter(environment="qa", before=before, limit=4)):
        pages.append([each.facts["number"] for each in page])
        before = page[-1].id
    assert pages == [[10, 8, 6, 4], [2, 0]]


@pytest.mark.parametrize("change", ["update ledger set entry = 'x'", "delete from ledger", "truncate ledger"])
async def test_nobody_changes_it(ledger: Ledger, state: StateDatabase, change: str) -> None:
    await ledger.note(Entry.STEP, Subject())
    with pytest.raises(StateRefusedError, match="ledger"):
        async with state.begin() as connection:
            await (await raw(connection)).execute(change)
    assert await count(ledger) == 1


@pytest.mark.parametrize("spooled", [False, True])
async def test_it_takes_everything_but_secrets(ledger: Ledger, spooled: bool) -> None:
    facts = {
        "figures": {"odd": float("nan"), "large": float("inf"), ODD: 1, "huge": 10**30},
        "text": ODD,
        "password": "geheim",
        "said": "postgresql://u:geheim@h/db and password=geheim",
        "objects": ({"relname": "città"}, [Path("/x")]),
    }
    subject = Subject("r1", "qa", "backup", "anna")
    if spooled:
        ledger._spool(ledger._row(Entry.STEP, subject, facts))
        assert "geheim" not in (ledger.data_dir / SPOOL).read_text()
        assert await ledger.flush() == 1
    else:
        await ledger.note(Entry.STEP, subject, **facts)
    (found,) = await ledger.entries(LedgerFilter())
    assert (found.run_id, found.environment, found.action, found.person) == ("r1", "qa", "backup", "anna")
    text = "a\u2028b\x85cd?e\r\nf"
    assert found.facts == {
        "figures": {"odd": "nan", "large": "inf", text: 1, "huge": 10**30},
        "text": text,
        "password": "***",
        "said": "postgresql://u:***@h/db and password=***",
        "objects": [{"relname": "città"}, ["/x"]],
    }


async def test_the_file_is_brought_over_once_however_large(ledger: Ledger, state: StateDatabase) -> None:
    path = ledger.data_dir / SPOOL
    rows = [ledger._row(Entry.STEP, Subject("r1"), {"number": number}) for number in range(5000)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(lines)
    assert await ledger.flush() == 5000
    assert not path.exists()
    assert await ledger.flush() == 0
    path.write_text(lines)  # the daemon ended between the commit and the end of the file
    await ledger.flush()
    assert await count(ledger) == 5000


@pytest.mark.parametrize("torn", [b'{"uid": "x", "at"', b"\xff\xfe", b"[1]", b'"text"', b"{}"])
async def test_a_torn_line_loses_only_itself(ledger: Ledger, torn: bytes) -> None:
    path = ledger.data_dir / SPOOL
    ledger._spool(ledger._row(Entry.STEP, Subject("r1"), {}))
    path.write_bytes(torn + b"\n" + path.read_bytes())
    with capture_logs() as logs:
        assert await ledger.flush() == 1
    assert not path.exists()
    assert path.with_suffix(".unreadable").exists(), "what could not be read stays for a person"
    assert [each["event"] for each in logs] == ["ledger_spool_line_unreadable", "ledger_spool_flushed"]
    assert await count(ledger) == 1
