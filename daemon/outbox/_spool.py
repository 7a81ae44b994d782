"""Notices that are in memory only: just put, or waiting for the state database to return."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from daemon.outbox._notice import Notice
from daemon.outbox._rows import short

log = structlog.get_logger()

SPOOL_SIZE = 20_000


@dataclass(slots=True)
class Spooled:
    """`reference` when it was sent, `error` when it never will be; `held` by whoever writes or sends it just now."""

    notice: Notice
    held: bool = False
    attempts: int = 0
    not_before: float = 0.0  # monotonic seconds
    reference: str | None = None
    error: str | None = None

    @property
    def ended(self) -> bool:
        return self.reference is not None or self.error is not None


class Spool:
    """In the order in which they came. What is too much drops the oldest: running out of memory would lose all."""

    def __init__(self, size: int = SPOOL_SIZE) -> None:
        self._size = size
        self._all: dict[tuple[str, str], Spooled] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Spooled]:
        return iter(self._all.values())

    def add(self, notice: Notice) -> Spooled:
        """The one that is here, where it is here already."""
        key = (notice.to, short(notice.key))
        if key in self._all:
            return self._all[key]
        if len(self._all) >= self._size:
            oldest = next((key for key, one in self._all.items() if not one.held), None)
            if oldest is not None:
                del self._all[oldest]
                self.dropped += 1
                log.warning("notice_dropped", notifier=oldest[0], key=oldest[1], reason="the spool is full")
        added = self._all[key] = Spooled(replace(notice, payload=_json(notice.payload)))
        return added

    def remove(self, spooled: Spooled) -> None:
        self._all.pop((spooled.notice.to, short(spooled.notice.key)), None)

    def to_write(self, limit: int) -> list[Spooled]:
        """What can be written down: nothing that follows, in its thread, one that somebody holds."""
        held: set[tuple[str, str]] = set()
        found = []
        for one in self._all.values():
            thread = (one.notice.to, one.notice.thread)
            if one.held:
                held.add(thread)
            elif thread not in held:
                found.append(one)
                if len(found) == limit:
                    break
        return found

    def to_send(self, notifier: str, now: float) -> Spooled | None:
        """The first whose turn it is (`now` in monotonic seconds)."""
        newest = {
            (one.notice.thread, one.notice.slot): one
            for one in self._all.values()
            if one.notice.to == notifier and not one.ended
        }
        busy: set[str] = set()
        for one in self._all.values():
            if one.notice.to != notifier or one.ended or one.notice.thread in busy:
                continue
            if one.held or one.not_before > now:
                busy.add(one.notice.thread)
            elif one.notice.slot is not None and newest[one.notice.thread, one.notice.slot] is not one:
                one.reference = "outdated: a newer one was sent instead"
            else:
                return one
        return None

    def save(self, path: Path) -> None:
        """Leave what could not be written down for the next process. Raises OSError."""
        left = [one.notice for one in self._all.values() if not one.ended]
        if not left:
            return
        partial = path.with_suffix(".partial")
        partial.touch(0o600)
        with partial.open("w", encoding="utf-8") as file:
            for one in left:
                line = [one.to, one.thread, one.key, one.payload, one.at, one.slot]
                file.write(json.dumps(line) + "\n")
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Take what the last process left, if it left something. Raises OSError."""
        if not path.exists():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                self.add(Notice(*json.loads(line)))
            except (ValueError, TypeError, AttributeError) as error:
                log.warning("notice_unreadable", path=str(path), error=str(error))


def _json(payload: object) -> dict[str, object]:
    """A copy that nobody changes, of which PostgreSQL takes everything: its JSON knows no NaN."""
    copy: dict[str, object] = json.loads(json.dumps(payload, default=str), parse_constant=str)
    return copy
