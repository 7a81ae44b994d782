"""How many are connected: in all, and from one place; who comes beyond it is turned away before it costs anything."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Callable

MOST = 1000
_SHARE = 2  # a half of the files that may be open is for connections, the rest for databases and ours


def most_connections(wanted: int = MOST) -> int:
    """As many as are wanted, or as this process has files for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft // _SHARE)


class Connections:
    """At most `most`, and `each` from one place; None is a place that is not bounded by itself."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._places: Counter[str | None] = Counter()
        self._all = 0

    def enter(self, place: str | None) -> Place | None:
        """Room for one; None where there is none."""
        if self._all >= self._most or (place is not None and self._places[place] >= self._each):
            return None
        self._all += 1
        self._places[place] += 1
        return Place(lambda: self._leave(place))

    def _leave(self, place: str | None) -> None:
        self._all -= 1
        self._places[place] -= 1
        if not self._places[place]:
            del self._places[place]


class Place:
    """What a connection takes up until it leaves."""

    def __init__(self, on_leave: Callable[[], None]) -> None:
        self._on_leave: Callable[[], None] | None = on_leave

    def leave(self) -> None:
        """Once or more often."""
        if self._on_leave is not None:
            self._on_leave()
            self._on_leave = None


class Counted(asyncio.Protocol):
    """A protocol that gives its place back when its connection ends."""

    def __init__(self, protocol: asyncio.Protocol, place: Place) -> None:
        self._protocol = protocol
        self._place = place

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._place.leave()
        self._protocol.connection_lost(exc)
