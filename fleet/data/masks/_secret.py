"""The key: HMAC-SHA256 of what is replaced, by tier and purpose, so that no two tiers can be joined."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from fleet.errors import ActionError

KEY_CHARACTERS = 32


def read_key(secret: str | None) -> bytes:
    """The key out of the secret that `data.mask_key` names. Raises ActionError: there is none, or it is too short."""
    if secret is None:
        raise ActionError(
            "the policy names no key for masks", hint="set data.mask_key to a reference, such as env:MASK_KEY"
        )
    if len(secret.strip()) < KEY_CHARACTERS:
        raise ActionError(
            f"the key for masks has less than {KEY_CHARACTERS} characters",
            hint="make one: openssl rand -hex 32",
        )
    return secret.strip().encode()


class Secret:
    """Draws what looks random from values, for one purpose. It never shows its key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes, tier: str, purpose: str) -> None:
        self._key = hmac.digest(key, f"custode mask 1 {tier} {purpose}".encode(), "sha256")

    def digest(self, value: str, attempt: int = 0) -> bytes:
        """32 bytes."""
        text = value if not attempt else f"{value}\0{attempt}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def number(self, value: str, attempt: int = 0) -> int:
        """From 0 to 2**256 - 1."""
        return int.from_bytes(self.digest(value, attempt), "big")

    def stream(self, value: str, length: int) -> bytes:
        """Any number of bytes."""
        return hashlib.shake_256(self.digest(value)).digest(length)


class Distinct:
    """Gives different values different masks, however small the room, by remembering both; for threads too.

    Where two values would have had the same mask, which of them keeps it depends on who comes first.
    """

    def __init__(self, make: Callable[[str, int], str]) -> None:
        self._make = make
        self._given: dict[str, str] = {}
        self._owner: dict[str, str] = {}

    def __call__(self, value: str) -> str:
        given = self._given.get(value)
        if given is not None:
            return given
        attempt = 0
        while self._owner.setdefault(made := self._make(value, attempt), value) != value:
            attempt += 1
        self._given[value] = made
        return made
