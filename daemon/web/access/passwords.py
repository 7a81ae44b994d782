"""Passwords of web.yml's users. bcrypt is slow on purpose: it runs in threads, and what was right is remembered."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections import OrderedDict
from collections.abc import Mapping

import bcrypt

_REMEMBERED = 1000
_AT_ONCE = 2  # hashes under way: strangers shall not have all processors
_LONGEST = 72  # bytes; bcrypt reads no more, and newer ones refuse longer passwords with an error
_CHEAPEST = "$2b$10$"
_NOBODYS = "CCCCCCCCCCCCCCCCCCCCC." + "C" * 31  # a salt and a hash that no password has


class Passwords:
    """Judges passwords against the hashes of the users. Remembers no password, only a keyed hash of it.

    Whoever asks for `right` holds one of `turns`.
    """

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self.turns = asyncio.Semaphore(_AT_ONCE)

    def known(self, users: Mapping[str, str], user: str, password: str) -> bool:
        """Whether this was right before, with the same hash; costs next to nothing."""
        return user in users and self._mark(user, users[user], password) in self._right

    async def right(self, users: Mapping[str, str], user: str, password: str) -> bool:
        """Whether the user has this password. Takes as long for a user whom nobody knows."""
        if self.known(users, user, password):
            return True
        hashed = users.get(user)
        written = password.encode("utf-8", "surrogateescape")
        fits = await asyncio.to_thread(_fits, written, hashed or _dummy(users))
        if hashed is None or not fits:
            return False
        self._right[self._mark(user, hashed, password)] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
        return True

    def _mark(self, user: str, hashed: str, password: str) -> bytes:
        text = "\0".join((user, hashed, password)).encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, text, hashlib.sha256)


def _fits(password: bytes, hashed: str) -> bool:
    too_long = len(password) > _LONGEST
    try:
        return bcrypt.checkpw(password[:_LONGEST], hashed.encode()) and not too_long
    except ValueError:
        return False


def _dummy(users: Mapping[str, str]) -> str:
    """A hash as costly as the costliest of the users'."""
    return max((hashed[:7] for hashed in users.values()), key=lambda start: start[4:6], default=_CHEAPEST) + _NOBODYS
