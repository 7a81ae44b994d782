"""Bearer tokens: those of `access.tokens`, and those of operators. They are looked up by their SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from daemon.config import RoleName, TokenSettings
from daemon.web.access.people import People
from fleet.errors import SecretError
from fleet.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a token. `role` is None where the roles of people say it; `expired`: it counts no more."""

    person: str
    role: RoleName | None = None
    expired: bool = False


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def find_holder(
    digest: bytes, tokens: Mapping[str, TokenSettings], people: People, secrets: Secrets, now: float
) -> Holder | None:
    """Whose token has this SHA-256; None: nobody's, or more than one's. `now` is in unix seconds.

    Raises:
        SecretError: nobody's whose token can be read, and some cannot: whose it is is unknown.
    """
    found: list[Holder] = []
    unreadable: SecretError | None = None
    for name, settings in tokens.items():
        try:
            expected = await _digest(settings, secrets)
        except SecretError as error:
            unreadable = SecretError(f"access.tokens.{name}: {error.message}", hint=error.hint)
            continue
        if expected == digest:  # of hashes: what differs tells nothing about the token
            expired = settings.expires is not None and settings.expires.timestamp() <= now
            found.append(Holder(name, settings.role, expired))
    if not found:
        person = await people.by_digest(digest, secrets)
        found = [] if person is None else [Holder(person)]
    if not found and unreadable is not None:
        raise unreadable
    return found[0] if len(found) == 1 else None


async def _digest(settings: TokenSettings, secrets: Secrets) -> bytes | None:
    if settings.sha256 is not None:
        return bytes.fromhex(settings.sha256.get_secret_value())
    token = "" if settings.token is None else await secrets.fill(settings.token)
    return digest_of(token) if token else None
