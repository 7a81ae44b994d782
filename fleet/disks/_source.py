"""The seam for disk sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field
from yarl import URL

from fleet.connections import Connections
from fleet.policy import Strict


def _without_login(url: str) -> str:
    parsed = URL(url)
    if parsed.user is not None or parsed.password is not None:
        raise ValueError(
            "must hold no user and password, for the URL is shown as it is; let the network say who may read it"
        )
    return url


WebUrl = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_without_login)]


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
