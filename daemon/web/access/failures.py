"""How often somebody may fail to sign in, and how many requests are served at all."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable

from daemon.web.access.proxies import place_of

WITHIN = 60.0  # seconds
_MOST = 10_000  # addresses


class Failures:
    """Failed sign-ins by address of the client; the /64 of an IPv6 address is one.

    `allowed` says how many may fail in a minute, `monotonic` gives seconds.
    """

    def __init__(self, monotonic: Callable[[], float], allowed: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._allowed = allowed
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, client: str) -> None:
        place = place_of(client)
        times = self._failed.setdefault(place, deque())
        times.append(self._monotonic())
        while len(times) > self._allowed():
            times.popleft()
        self._failed.move_to_end(place)
        if len(self._failed) > _MOST:
            self._failed.popitem(last=False)

    def wait(self, client: str) -> int:
        """Seconds until this address may try again; 0: now."""
        times = self._failed.get(place_of(client))
        if times is None or len(times) < self._allowed():
            return 0
        return max(0, math.ceil(times[0] + WITHIN - self._monotonic()))


class Bucket:
    """One request each `interval` seconds, `burst` at once."""

    def __init__(self, interval: float, burst: int, monotonic: Callable[[], float]) -> None:
        self._interval = interval
        self._burst = burst
        self._monotonic = monotonic
        self._full_at = monotonic()

    def take(self) -> float:
        """0 where a request may be served, else the seconds until one may."""
        now = self._monotonic()
        full_at = max(self._full_at, now) + self._interval
        if full_at - now > self._interval * self._burst + 1e-9:
            return full_at - now - self._interval * self._burst
        self._full_at = full_at
        return 0.0
