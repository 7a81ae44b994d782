"""Browsers that are signed in. Kept in memory: a daemon that is started anew knows none."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LONGEST = 7 * 86_400.0  # seconds that a session lasts at most
_MOST = 10_000
MOST_OF_PERSON = 20


@dataclass(frozen=True, slots=True, repr=False)
class Proof:
    """By what a person was known, as a SHA-256: of the token, or of the bcrypt hash that the password fitted."""

    kind: Literal["token", "password"]
    person: str
    digest: bytes


@dataclass(slots=True, repr=False)
class Session:
    """`begun` and `used` in monotonic seconds; `mark` is what is kept of its id."""

    mark: bytes
    proof: Proof
    begun: float
    used: float


class Sessions:
    """`idle` gives the seconds after which one that is not used ends, `monotonic` seconds that only grow."""

    def __init__(self, idle: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._idle = idle
        self._monotonic = monotonic
        self._sessions: dict[bytes, Session] = {}  # the one that was used last comes last

    def begin(self, proof: Proof) -> str:
        """The id of a new session, which only the browser keeps; of too many of one person, the least used ends."""
        self._drop_old()
        theirs = [session for session in self._sessions.values() if session.proof.person == proof.person]
        for session in theirs[: max(0, len(theirs) + 1 - MOST_OF_PERSON)]:
            self.end(session)
        session_id, now = secrets.token_urlsafe(32), self._monotonic()
        mark = _mark(session_id)
        self._sessions[mark] = Session(mark, proof, now, now)
        return session_id

    def find(self, session_id: str, *, use: bool = True) -> Session | None:
        """The session of this id, which lasts longer by being used."""
        session = self._sessions.get(_mark(session_id))
        if session is None:
            return None
        if self._over(session):
            self.end(session)
            return None
        if use:
            session.used = self._monotonic()
            self._sessions[session.mark] = self._sessions.pop(session.mark)
        return session

    def end(self, session: Session) -> None:
        self._sessions.pop(session.mark, None)

    def _over(self, session: Session) -> bool:
        now = self._monotonic()
        return now - session.used >= self._idle() or now - session.begun >= LONGEST

    def _drop_old(self) -> None:
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            if len(self._sessions) < _MOST and not self._over(oldest):
                return
            self.end(oldest)


def _mark(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogateescape")).digest()
