"""The seam for disk sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fleet.connections import Connections
from fleet.policy import Strict


@dataclass(frozen=True, slots=True)
class Usage:
    """One file system: bytes in all, and bytes that the database may still use."""

    mountpoint: str
    size_bytes: int | None
    available_bytes: int | None


class DiskSource(ABC):
    """Reads the disks under one environment. `Options` is the source's part of the configuration."""

    name: ClassVar[str]
    summary: ClassVar[str]

    class Options(Strict):
        """No options."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    async def usage(self, connections: Connections) -> Sequence[Usage]:
        """Return what is known; nothing known is an empty list, never an invented zero.

        Raises:
            CustodeError: the source cannot be read.
        """
