"""Where alerts outlive the process: a journal, one line an alert that changed, on disk before anybody hears of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import structlog

from rules import Alert, Labels, Lasting, RuleError
from rules.snapshots import dump, load

log = structlog.get_logger()

_SPARE_LINES = 1000  # beyond two for each alert, before the journal is written anew


@dataclass(slots=True)
class Remembered:
    """The alerts of each rule, by its key, and when the last process was last known to live (unix seconds)."""

    at: float = 0.0
    rules: dict[str, dict[Labels, Alert]] = field(default_factory=dict)


class Journal(Protocol):
    """Remembers alerts. All but `load` raise OSError where it cannot be written."""

    def load(self) -> Remembered: ...

    def append(self, changes: Sequence[Lasting], at: float) -> None:
        """Remember these changes as of `at` (unix seconds); they are safe once it returns. No change: still alive."""

    def rewrite(self, everything: Sequence[Lasting], at: float) -> None:
        """Remember this and nothing else."""

    @property
    def long(self) -> bool:
        """Whether it is worth to be rewritten."""


class FileJournal:
    """A file of JSON lines. A line that was cut short by a crash counts as not written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = self._alerts = 0

    def load(self) -> Remembered:
        remembered, damaged = Remembered(), False
        for number, line in enumerate(self._read(), 1):
            try:
                self._take(remembered, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RuleError) as error:
                log.warning("alert_journal_line_unreadable", journal=str(self._path), line=number, error=str(error))
                damaged = True
        if damaged:
            self._keep_copy()
        return remembered

    def _keep_copy(self) -> None:
        """The journal is about to be written anew: what could not be read of it stays for a person to look at."""
        copy = self._path.with_suffix(".unreadable")
        try:
            shutil.copyfile(self._path, copy)
        except OSError as error:
            log.warning("alert_journal_not_copied", journal=str(self._path), copy=str(copy), error=str(error))
        else:
            log.warning("alert_journal_copied", journal=str(self._path), copy=str(copy))

    def _read(self) -> Iterator[str]:
        try:
            text = self._path.read_bytes().decode("utf-8", "replace")
        except FileNotFoundError:
            return iter(())
        except OSError as error:
            log.warning("alerts_start_anew", journal=str(self._path), error=str(error))
            return iter(())
        return (line for line in text.split("\n") if line)

    @staticmethod
    def _take(remembered: Remembered, entry: dict[str, Any]) -> None:
        remembered.at = max(remembered.at, float(entry["at"]))
        if "rule" in entry:
            alerts = remembered.rules.setdefault(str(entry["rule"]), {})
            if "alert" in entry:
                alert = load(entry["alert"])
                alerts[alert.labels] = alert
            else:
                alerts.pop(Labels(entry["ended"]), None)

    def append(self, changes: Sequence[Lasting], at: float) -> None:
        lines = list(_lines(changes, at)) or [_line({"at": at})]
        known = self._path.exists()
        # a line that a crash cut short must not swallow the first of ours
        with self._path.open("a+b") as file:
            file.write("".join(["" if _ends_well(self._path) else "\n", *lines]).encode())
            if changes:
                file.flush()
                os.fsync(file.fileno())
        if not known:
            _sync_folder(self._path.parent)
        self._lines += len(lines)

    def rewrite(self, everything: Sequence[Lasting], at: float) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        lines = [_line({"at": at}), *_lines(everything, at)]
        with partial.open("wb") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        _sync_folder(self._path.parent)
        self._lines, self._alerts = len(lines), len(everything)

    @property
    def long(self) -> bool:
        return self._lines > 2 * self._alerts + _SPARE_LINES


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":")) + "\n"


def _lines(changes: Iterable[Lasting], at: float) -> Iterator[str]:
    for change in changes:
        told = {"ended": dict(change.labels.pairs)} if change.alert is None else {"alert": dump(change.alert)}
        yield _line({"at": at, "rule": change.key, **told})


def _ends_well(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _sync_folder(path: Path) -> None:
    """Make a new name in a folder outlive a loss of power."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
