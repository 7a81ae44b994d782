"""GET /live: tells browsers that something has changed, and of which kind; what it is now, they ask for themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp import web

from daemon.actions.port import ActionsPort
from daemon.actions.views import LedgerFilter, LedgerView, RunFilter, RunState
from daemon.web.access import Role, visitor
from daemon.web.access.proxies import client, place_of
from daemon.web.routes import Route
from fleet.errors import CustodeError

PING_SECONDS = 15.0
CLIENTS = 200
EACH = 20  # of one person, or one address
SEND_SECONDS = 10.0  # whoever takes longer to take a few bytes is gone
LOOK_SECONDS = 3.0  # between looks at what other daemons have done
_MOST_ENTRIES = 20

StillMay = Callable[[web.Request], Awaitable[bool]]


class Topic(StrEnum):
    ALERTS = "alerts"
    ACTIONS = "actions"
    SILENCES = "silences"
    SAMPLES = "samples"

    @property
    def spacing(self) -> float:
        """Seconds between two of a kind: what happens meanwhile is told once, at their end."""
        return 15.0 if self is Topic.SAMPLES else 1.0


@dataclass(eq=False, slots=True)
class _Client:
    request: web.Request
    whose: str
    waiting: set[Topic] = field(default_factory=set)  # never more than there are topics
    told: dict[Topic, float] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def here(self) -> bool:
        return self.request.transport is not None and not self.request.transport.is_closing()

    def take(self, now: float) -> list[Topic]:
        """What is to be told now."""
        due = sorted(topic for topic in self.waiting if self._due(topic) <= now)
        self.waiting.difference_update(due)
        self.told.update(dict.fromkeys(due, now))
        return due

    def next_due(self) -> float:
        return min(map(self._due, self.waiting), default=float("inf"))

    def _due(self, topic: Topic) -> float:
        return self.told.get(topic, float("-inf")) + topic.spacing


async def _always(_request: web.Request) -> bool:
    return True


class Live:
    """Everybody who follows. `still_may` says whether the visitor of a request may follow it any longer."""

    def __init__(self, *, still_may: StillMay = _always, clients: int = CLIENTS, each: int = EACH) -> None:
        self._still_may = still_may
        self._most = clients
        self._each = each
        self._clients: set[_Client] = set()
        self._anybody = asyncio.Event()
        self._ended = False

    def publish(self, topic: Topic) -> None:
        """Something of this kind has changed. Does not block."""
        for one in self._clients:
            one.waiting.add(topic)
            one.wake.set()

    async def watch(self, port: ActionsPort) -> None:
        """See what other daemons do on the same state database, and how far actions are, while anybody follows."""
        newest: int | None = None
        while True:
            if not self._clients:
                newest = None
                self._anybody.clear()
                await self._anybody.wait()
            with suppress(CustodeError, TimeoutError):  # the state database is away
                newest = await self._look(port, newest)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, port: ActionsPort, newest: int | None) -> int:
        entries = await port.entries(LedgerFilter(limit=_MOST_ENTRIES))
        if newest is not None:
            for topic in {_topic(entry) for entry in entries if entry.id > newest}:
                self.publish(topic)
        if await port.runs(RunFilter(states=(RunState.RUNNING,), limit=1)):
            self.publish(Topic.ACTIONS)
        return max((entry.id for entry in entries), default=0)

    async def end(self, _application: web.Application | None = None) -> None:
        """Let everybody go: the daemon stops."""
        self._ended = True
        for one in self._clients:
            one.wake.set()

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """A stream of server-sent events that carry nothing but their topic."""
        whose = visitor(request).person or place_of(client(request))
        here = self._here()
        theirs = sum(one.whose == whose for one in here)
        if self._ended or len(here) >= self._most or theirs >= self._each:
            return web.Response(status=503, headers={"Retry-After": "30"}, text="Too many follow already.\n")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        one = _Client(request, whose)
        self._clients.add(one)
        self._anybody.set()
        try:
            await response.prepare(request)
            await _send(response, "retry: 2000\n\n")
            await self._tell(one, response)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._clients.discard(one)
        return response

    def _here(self) -> list[_Client]:
        """Who is still there; who is not is let go."""
        for one in self._clients:
            if not one.here:
                one.wake.set()
        return [one for one in self._clients if one.here]

    async def _tell(self, one: _Client, response: web.StreamResponse) -> None:
        ping = time.monotonic() + PING_SECONDS
        while not self._ended and one.here:
            now = time.monotonic()
            one.wake.clear()
            events = list(map(str, one.take(now)))
            if now >= ping:
                events.append("ping")
            if events:
                if not await self._still_may(one.request):
                    return
                await _send(response, "".join(f"event: {name}\ndata: {name}\n\n" for name in events))
                ping = now + PING_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, min(ping, one.next_due()) - time.monotonic())):
                    await one.wake.wait()


async def _send(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(text.encode())


def _topic(entry: LedgerView) -> Topic:
    return Topic.SILENCES if entry.entry == "silence" else Topic.ACTIONS


def routes(live: Live) -> list[Route]:
    return [Route("GET", "/live", live.follow, Role.VIEWER, "Tells what kind of thing has changed, as it does")]
