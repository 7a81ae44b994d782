"""The seam for backup stores: objects by key, whole or not at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from fleet.policy import Strict


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
    def __init__(self, options: Options) -> None: ...

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

    async def free_bytes(self) -> int | None:
        """Head-room of the store; None where the kind of store cannot tell."""
        return None
