"""The global stop switch: a row that all daemons of a state database see, and a file for one's own hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.ledger import Entry, Ledger, Subject
from daemon.actions.views import STOP_FILE, StopSwitch
from daemon.state.models import Switch

_NAME = "stop-actions"
_READ = 1000  # bytes


class Switches:
    """The file counts on this daemon alone, and only a person who removes it takes it back."""

    def __init__(self, data_dir: Path, ledger: Ledger, now: Callable[[], float]) -> None:
        self._file = data_dir / STOP_FILE
        self._ledger = ledger
        self._now = now

    async def read(self, connection: AsyncConnection) -> StopSwitch | None:
        """None where the file cannot be looked for."""
        if (file := self._by_file()) is None or file.stopped:
            return file
        row = (await connection.execute(select(Switch.__table__).where(Switch.name == _NAME))).mappings().one_or_none()
        return StopSwitch(False) if row is None else StopSwitch(row["on"], row["reason"], row["by"], row["at"])

    async def turn(self, connection: AsyncConnection, *, on: bool, person: str, reason: str, via: str) -> StopSwitch:
        values = {"name": _NAME, "on": on, "reason": reason, "by": person, "at": self._now()}
        query = insert(Switch).values(values)
        await connection.execute(query.on_conflict_do_update(index_elements=["name"], set_=values))
        await self._ledger.write(connection, Entry.SWITCH, Subject(person=person), stopped=on, reason=reason, via=via)
        return await self.read(connection) or StopSwitch(True, "whether the stop file is there cannot be read")

    def _by_file(self) -> StopSwitch | None:
        """Its first line, where it has one, says who and why."""
        try:
            at = self._file.stat().st_mtime
            said = self._file.read_bytes()[:_READ].decode("utf-8", "replace").partition("\n")[0].strip()
        except FileNotFoundError:
            return StopSwitch(False)
        except OSError:
            return None
        return StopSwitch(True, said, f"the file {self._file}", at)
