"""What was asked, allowed, refused and done: rows that nobody can change, and a file for when the database is away."""

from __future__ import annotations

import asyncio
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.views import LedgerFilter, LedgerView
from daemon.lines import append_line
from daemon.state import StateDatabase
from daemon.state.models import LedgerEntry
from fleet.backups.scrub import scrub
from fleet.errors import StateAwayError

log = structlog.get_logger()

_MASKED = "***"
_SECRET_NAMES = ("password", "secret", "token", "dsn")
_COLUMNS = ("uid", "at", "entry", "run_id", "environment", "action", "person", "facts")
SPOOL = "ledger-spool.jsonl"
_WRITE = insert(LedgerEntry)
# a connection that broke at the commit leaves open whether an entry is there
_INSERT = insert(LedgerEntry).on_conflict_do_nothing(index_elements=["uid"])


class Entry(StrEnum):
    REQUESTED = "requested"
    GUARD = "guard"
    PLAN = "plan"
    ASKED = "asked"
    ANSWER = "answer"
    TAKEN_OVER = "taken_over"
    STEP = "step"
    UNDO = "undo"
    VERDICT = "verdict"
    OUTCOME = "outcome"
    ESCALATED = "escalated"
    CONTROL = "control"  # cancel, pause, resume, retry
    SWITCH = "switch"
    CLICK = "click"  # on a button in Slack, allowed or refused
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Subject:
    """What an entry is about, and who caused it."""

    run_id: str | None = None
    environment: str | None = None
    action: str | None = None
    person: str | None = None


@dataclass(slots=True)
class Ledger:
    """`write` belongs to the transaction of what it tells of; `note` stands alone and is never lost."""

    state: StateDatabase
    data_dir: Path
    now: Callable[[], float]
    _spooling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def write(self, connection: AsyncConnection, entry: Entry, subject: Subject, **facts: Any) -> None:
        """Texts are freed of secrets."""
        await connection.execute(_WRITE, self._row(entry, subject, facts))

    async def note(self, entry: Entry, subject: Subject, **facts: Any) -> None:
        """Write an entry, into the file while the state database is away; `flush` brings it over.

        Raises:
            OSError: the state database is away, and the file cannot be written either.
        """
        row = self._row(entry, subject, facts)
        try:
            async with self.state.begin() as connection:
                await connection.execute(_INSERT, [row])
        except StateAwayError:
            async with self._spooling:
                await asyncio.to_thread(self._spool, row)

    async def flush(self) -> int:
        """Bring what was written into the file over, and return how many entries. Raises StateAwayError."""
        path = self.data_dir / SPOOL
        async with self._spooling:
            if not path.exists():
                return 0
            rows, damaged = await asyncio.to_thread(_read_rows, path)
            if rows:
                async with self.state.begin() as connection:
                    await connection.execute(_INSERT, rows)  # one by one: a statement has room for some thousand
            if damaged:  # for a person to look at
                path.replace(path.with_suffix(".unreadable"))
            else:
                path.unlink()
        log.info("ledger_spool_flushed", entries=len(rows))
        return len(rows)

    async def entries(self, wanted: LedgerFilter) -> Sequence[LedgerView]:
        """Newest first. Raises StateAwayError."""
        table = LedgerEntry.__table__
        # the rows last: which ones, the indexes alone can tell, and the planner sees that this is cheap
        found = select(table.c.id).order_by(table.c.id.desc()).limit(wanted.limit)
        for name in ("run_id", "environment", "action", "person", "entry"):
            if (value := getattr(wanted, name)) is not None:
                found = found.where(table.c[name] == value)
        if wanted.since is not None:
            found = found.where(table.c.at >= wanted.since)
        if wanted.before is not None:
            found = found.where(table.c.id < wanted.before)
        ids = found.subquery()
        query = select(*(table.c[name] for name in ("id", *_COLUMNS[1:]))).join(ids, ids.c.id == table.c.id)
        async with self.state.begin() as connection:
            rows = await connection.execute(query.order_by(table.c.id.desc()))
            return [LedgerView(*row) for row in rows]

    def _row(self, entry: Entry, subject: Subject, facts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "uid": uuid.uuid4().hex,
            "at": self.now(),
            "entry": entry.value,
            "run_id": subject.run_id,
            "environment": subject.environment,
            "action": subject.action,
            "person": subject.person,
            "facts": clean(facts),
        }

    def _spool(self, row: Mapping[str, Any]) -> None:
        line = json.dumps(row, ensure_ascii=False, default=str) + "\n"
        handle = os.open(self.data_dir / SPOOL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            append_line(handle, line.encode(errors="replace"))
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The entries, and whether there are lines that are none."""
    rows, damaged = [], False
    for number, line in enumerate(path.read_bytes().splitlines(), 1):  # of bytes: texts have more kinds of line ends
        try:
            entry = json.loads(line)
            rows.append({name: entry[name] for name in _COLUMNS})
        except (ValueError, KeyError, TypeError):
            damaged = True
            log.warning("ledger_spool_line_unreadable", path=str(path), line=number)
    return rows, damaged


def clean(value: Any) -> Any:
    """A copy as JSON that jsonb takes, without secrets: neither under a telling name nor inside a text."""
    match value:
        case Mapping():
            return {
                _text(str(name)): _MASKED if any(word in str(name).lower() for word in _SECRET_NAMES) else clean(part)
                for name, part in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [clean(part) for part in value]
        case str():
            return _text(scrub(value))
        case float() if not math.isfinite(value):
            return str(value)
        case bool() | int() | float() | None:
            return value
        case _:
            return clean(str(value))


def _text(value: str) -> str:
    """Without what PostgreSQL has no place for: zero bytes, and halves of characters."""
    return value.replace("\0", "").encode(errors="replace").decode()
