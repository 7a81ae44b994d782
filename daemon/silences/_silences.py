"""Silences that people ask for: rows of the state database, each change allowed or refused on record."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.actions.ledger import Entry, Ledger, Subject, clean
from daemon.actions.operators import Operators
from daemon.actions.port import NotAllowedError, NotPossibleError
from daemon.silences._views import Matcher, SilenceView, read_matchers
from daemon.state import StateDatabase
from daemon.state.models import Silence
from fleet.errors import ActionError

LONGEST_SECONDS = 30 * 86_400.0
_ENDED_SECONDS = 86_400.0  # for how long one that has ended is shown


class UnknownSilenceError(ActionError):
    """There is no such silence."""

    code = "CU514"


class Silences:
    """Everything raises StateAwayError while the state database cannot be reached.

    `now` is unix seconds. Whoever may ask for actions on an environment may silence its alerts.
    """

    def __init__(
        self,
        state: StateDatabase,
        ledger: Ledger,
        operators: Callable[[], Operators],
        *,
        now: Callable[[], float],
    ) -> None:
        self._state = state
        self._ledger = ledger
        self._operators = operators
        self._now = now
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> None:
        """Be told after each change that is made here."""
        self._listeners.append(changed)

    def _tell(self) -> None:
        for changed in self._listeners:
            changed()

    async def create(
        self,
        matchers: Sequence[Matcher],
        seconds: float,
        person: str,
        *,
        via: str,
        comment: str = "",
        thread: str | None = None,
    ) -> SilenceView:
        """Silence what `matchers` (see `matchers_for`) name, for so long from now on.

        Raises:
            NotPossibleError: it would silence nothing or everything, or for no time or too long.
            NotAllowedError: the person may not.
        """
        subject = self._subject(matchers, person)
        await self._allow(subject, person, "create", via)
        _refuse_nonsense(matchers, seconds)
        now = round(self._now(), 3)  # as Alertmanager writes them
        silence = SilenceView(
            uuid.uuid4().hex[:12], tuple(matchers), now, now + seconds, person, str(clean(comment)), thread=thread
        )
        async with self._state.begin() as connection:
            await connection.execute(
                insert(Silence).values(
                    id=silence.id,
                    matchers=[one.json() for one in matchers],
                    starts_at=silence.starts_at,
                    ends_at=silence.ends_at,
                    created_by=person,
                    comment=silence.comment,
                    created_at=now,
                    thread=thread,
                )
            )
            await self._note(connection, subject, "create", via, silence)
        self._tell()
        return silence

    async def extend(self, silence_id: str, seconds: float, person: str, *, via: str) -> SilenceView:
        """Let it end so long from now. Raises UnknownSilenceError, NotPossibleError, NotAllowedError."""
        found = await self.get(silence_id)
        subject = self._subject(found.matchers, person)
        await self._allow(subject, person, "extend", via)
        _refuse_nonsense(found.matchers, seconds)
        ends_at = round(self._now() + seconds, 3)
        return await self._change(found, subject, "extend", via, ends_at=ends_at)

    async def expire(self, silence_id: str, person: str, *, via: str) -> SilenceView:
        """End it now. Raises UnknownSilenceError, NotPossibleError, NotAllowedError."""
        found = await self.get(silence_id)
        subject = self._subject(found.matchers, person)
        await self._allow(subject, person, "expire", via)
        return await self._change(found, subject, "expire", via, expired_at=self._now(), expired_by=person)

    async def get(self, silence_id: str) -> SilenceView:
        async with self._state.begin() as connection:
            row = (await connection.execute(select(Silence).where(Silence.id == silence_id))).one_or_none()
        if row is None:
            raise UnknownSilenceError(f"there is no silence {silence_id!r}", hint="custode silence list shows them")
        return _view(row)

    async def recent(self) -> list[SilenceView]:
        """Those that last, and those that ended within a day; the newest first."""
        async with self._state.begin() as connection:
            rows = await connection.execute(
                select(Silence)
                .where(Silence.ends_at > self._now() - _ENDED_SECONDS)
                .order_by(Silence.created_at.desc(), Silence.id)
            )
            return [_view(row) for row in rows]

    async def note_remote(self, silence: SilenceView, remote: str | None) -> bool:
        """Alertmanager knows it by this now; whether nobody else said so before."""
        return await self._set(silence, remote=remote)

    async def note_ended(self, silence: SilenceView, by: str) -> bool:
        """Somebody has ended it in Alertmanager."""
        return await self._set(silence, expired_at=self._now(), expired_by=by)

    async def _set(self, silence: SilenceView, **values: Any) -> bool:
        same = (
            Silence.id == silence.id,
            Silence.remote.is_not_distinct_from(silence.remote),
            Silence.expired_at.is_(None),
        )
        async with self._state.begin() as connection:
            done = await connection.execute(update(Silence).where(*same).values(**values))
        return done.rowcount == 1

    async def _change(self, found: SilenceView, subject: Subject, what: str, via: str, **values: Any) -> SilenceView:
        async with self._state.begin() as connection:
            lasting = (Silence.id == found.id, Silence.expired_at.is_(None), Silence.ends_at > self._now())
            rows = await connection.execute(update(Silence).where(*lasting).values(**values).returning(Silence))
            row = rows.one_or_none()
            if row is None:
                raise NotPossibleError(f"the silence {found.id} has ended")
            changed = _view(row)
            await self._note(connection, subject, what, via, changed)
        self._tell()
        return changed

    def _subject(self, matchers: Sequence[Matcher], person: str) -> Subject:
        named = [one.value for one in matchers if one.name == "environment" and one.equal and not one.regex]
        return Subject(environment=named[0] if named else None, person=person)

    async def _allow(self, subject: Subject, person: str, what: str, via: str) -> None:
        refusal = self._operators().refusal_for(person, "request", subject.environment)
        if refusal is not None:
            said = {"what": what, "via": via, "decision": "refused", "because": refusal}
            await self._ledger.note(Entry.SILENCE, subject, **said)
            raise NotAllowedError(refusal)

    async def _note(
        self, connection: AsyncConnection, subject: Subject, what: str, via: str, silence: SilenceView
    ) -> None:
        await self._ledger.write(
            connection,
            Entry.SILENCE,
            subject,
            what=what,
            via=via,
            silence=silence.id,
            matchers={one.name: one.value for one in silence.matchers},
            ends_at=silence.ends_at,
            comment=silence.comment,
        )


def _refuse_nonsense(matchers: Sequence[Matcher], seconds: float) -> None:
    if not 60.0 <= seconds <= LONGEST_SECONDS:
        raise NotPossibleError("a silence lasts from one minute to 30 days")
    if not any(one.value and one.equal for one in matchers):
        raise NotPossibleError("a silence must name at least one label that an alert has")


def _view(row: Any) -> SilenceView:
    return SilenceView(
        row.id,
        read_matchers(row.matchers),
        row.starts_at,
        row.ends_at,
        row.created_by,
        row.comment,
        row.remote,
        row.thread,
        row.expired_at,
        row.expired_by,
    )
