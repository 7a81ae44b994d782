"""What was asked and what was done, in an append-only file of JSON lines, read again at each start."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import structlog

from daemon.actions.guard import Ended, History
from daemon.actions.request import Request, Result
from daemon.lines import append_line
from fleet.backups.scrub import scrub
from fleet.errors import DaemonError

log = structlog.get_logger()

_REMEMBERED = 5000  # runs; older ones are in the file only
_MASKED = "***"
_SECRET_NAMES = ("password", "secret", "token", "dsn")


class Entry(StrEnum):
    REQUESTED = "requested"
    GUARD = "guard"
    PLAN = "plan"
    STEP = "step"
    VERDICT = "verdict"
    OUTCOME = "outcome"


@dataclass(slots=True)
class _Run:
    environment: str
    action: str
    key: str
    begun_at: float | None = None
    result: Result | None = None
    ended_at: float = 0.0


@dataclass(slots=True)
class Ledger:
    """Open one with `open`. Each entry is on disk when `append` returns.

    One process at a time may hold it: another one would take the runs of this one for interrupted.
    """

    path: Path
    _file: FileIO
    _runs: dict[str, _Run] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open or make the file and read what is in it. Blocks.

        Raises:
            DaemonError: another process holds it, or it cannot be read or written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = FileIO(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        except OSError as error:
            raise DaemonError(f"the ledger {path} cannot be opened: {error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise DaemonError(
                f"the ledger {path} is held by another process", hint="is a daemon running with this data_dir?"
            ) from error
        ledger = cls(path, file)
        ledger._load()
        return ledger

    def close(self) -> None:
        self._file.close()

    async def append(self, kind: Entry, run_id: str, at: float, **facts: Any) -> None:
        """Write an entry; texts are freed of secrets.

        Raises:
            DaemonError: the file cannot be written; the entry counts until the process ends nevertheless.
        """
        entry = {"at": at, "run": run_id, "entry": kind.value, **clean(facts)}
        line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
        self._note(entry)
        async with self._lock:
            # seen to its end even when cancelled: half a line would hide the next one
            writing = asyncio.get_running_loop().run_in_executor(
                None, partial(self._write, line.encode(errors="replace"))
            )
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])
                raise

    async def request(self, run_id: str, request: Request) -> None:
        await self.append(
            Entry.REQUESTED,
            run_id,
            request.at,
            environment=request.environment,
            action=request.action,
            key=request.key,
            requested_by=request.requested_by,
            reason=request.reason,
            parameters=dict(request.parameters),
            alert=dict(request.alert) if request.alert is not None else None,
        )

    def history(self, environment: str, action: str) -> History:
        """What the guard needs to know of one action on one environment."""
        here = {run_id: run for run_id, run in self._runs.items() if run.environment == environment}
        same = {run_id: run for run_id, run in here.items() if run.action == action and run.begun_at is not None}
        ended = [
            Ended(run.result, run.ended_at, run.key)
            for run in same.values()
            if run.result not in {None, Result.REFUSED}
        ]
        return History(
            running=[run_id for run_id, run in same.items() if run.result is None],
            ended=ended[::-1],
            begun=[run.begun_at for run in here.values() if run.begun_at is not None],
        )

    def unfinished(self) -> list[str]:
        """Runs without an outcome, oldest first."""
        return [run_id for run_id, run in self._runs.items() if run.result is None]

    def request_of(self, run_id: str) -> Request | None:
        """The request of a run, read back from the file. Blocks."""
        for entry in self.entries(run_id):
            if entry["entry"] == Entry.REQUESTED:
                names = ("environment", "action", "key", "requested_by", "at", "reason", "parameters", "alert")
                return Request(**{name: entry[name] for name in names})
        return None

    def entries(self, run_id: str | None = None) -> list[dict[str, Any]]:
        """All entries, or those of one run, in order. Blocks."""
        return [entry for entry in read_entries(self.path) if run_id is None or entry["run"] == run_id]

    def _load(self) -> None:
        for entry in read_entries(self.path):
            try:
                self._note(entry)
            except (KeyError, ValueError):
                log.warning("ledger_entry_unknown", path=str(self.path), run=entry["run"])
        size = os.fstat(self._file.fileno()).st_size
        if size and os.pread(self._file.fileno(), 1, size - 1) != b"\n":
            self._write(b"\n")  # what was being written when the process was killed stays, as a line of its own

    def _write(self, line: bytes) -> None:
        handle = self._file.fileno()
        try:
            append_line(handle, line)
            os.fsync(handle)
        except OSError as error:
            raise DaemonError(f"the ledger {self.path} cannot be written: {error}") from error

    def _note(self, entry: Mapping[str, Any]) -> None:
        run_id = entry["run"]
        if entry["entry"] == Entry.REQUESTED:
            self._runs[run_id] = _Run(entry["environment"], entry["action"], entry["key"])
            return
        run = self._runs.get(run_id)
        if run is None:
            return
        if entry["entry"] == Entry.GUARD:
            if entry["allowed"]:
                run.begun_at = entry["at"]
            else:
                del self._runs[run_id]
        elif entry["entry"] == Entry.OUTCOME:
            run.result, run.ended_at = Result(entry["result"]), entry["at"]
            if len(self._runs) > _REMEMBERED:
                del self._runs[next(id_ for id_, old in self._runs.items() if old.result is not None)]


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a ledger, whoever holds it; a line that is torn or damaged is logged and left out. Blocks."""
    entries = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line:
            continue
        try:
            entry = json.loads(line)
            entries.append(entry | {"entry": Entry(entry["entry"]), "run": str(entry["run"])})
        except (ValueError, TypeError, KeyError):
            log.warning("ledger_line_unreadable", path=str(path), line=number)
    return entries


def clean(value: Any) -> Any:
    """A copy of JSON-like data without secrets: neither under a telling name nor inside a text."""
    if isinstance(value, Mapping):
        return {
            name: _MASKED if any(word in str(name).lower() for word in _SECRET_NAMES) else clean(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    return scrub(value) if isinstance(value, str) else value
