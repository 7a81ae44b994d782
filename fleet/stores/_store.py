"""The seam for backup stores: objects by key, whole or not at all."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import ClassVar

from fleet.errors import StoreError
from fleet.policy import Strict
from fleet.secrets import Secrets

_KEY = re.compile(r"[ -.0-~]+(/[ -.0-~]+)*")  # parts of printable ASCII


def check_key(key: str) -> None:
    """Raises StoreError: this cannot be the key of an object."""
    if not _KEY.fullmatch(key) or any(part.startswith(".") for part in key.split("/")):
        raise StoreError(f"{key!r} cannot be a key: parts of printable ASCII between /, none starting with a dot")


@dataclass(frozen=True, slots=True)
class Stat:
    """An object as stored: key (`/` between parts), bytes, last change in unix seconds."""

    key: str
    size_bytes: int
    modified: float


class Store(ABC):
    """Keeps objects. A key is relative, of printable ASCII, without `..`; an object appears whole or not at all."""

    name: ClassVar[str]
    summary: ClassVar[str]

    class Options(Strict):
        """No options."""

    @abstractmethod
    def __init__(self, options: Options, secrets: Secrets) -> None:
        """`secrets` resolves what `options` refer to, when it is first needed: nothing is reached here."""

    @abstractmethod
    async def put(self, key: str, content: AsyncIterator[bytes]) -> Stat:
        """Store an object, durable when this returns. Raises StoreError."""

    @abstractmethod
    def get(self, key: str) -> AsyncIterator[bytes]:
        """Read an object in parts. Raises StoreError where there is none."""

    @abstractmethod
    async def list(self, prefix: str = "") -> list[Stat]:
        """All objects whose key starts with `prefix`, in order of key."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    @abstractmethod
    async def stat(self, key: str) -> Stat | None:
        """What is known of an object; None where there is none."""

    async def put_new(self, key: str, content: bytes | bytearray) -> bool:
        """Store an object unless there is one of that key and size; whether it was stored. Raises StoreError.

        For objects that are named by their content: whoever comes second may also write the same bytes again, and one
        of another size is damaged and replaced. Once it has returned, `content` may be used for something else.
        """
        found = await self.stat(key)
        if found is not None and found.size_bytes == len(content):
            return False

        async def parts() -> AsyncIterator[bytes]:
            yield bytes(content)

        await self.put(key, parts())
        return True

    async def thaw(self, _keys: Iterable[str]) -> frozenset[str]:
        """Ask for archived objects to be made readable; those that are not yet. Raises StoreError."""
        return frozenset()

    async def free_bytes(self) -> int | None:
        """Head-room of the store; None where the kind of store cannot tell."""
        return None
