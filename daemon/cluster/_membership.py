"""A daemon among others: it says every two seconds that it lives, and looks after its fair share of environments."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import structlog

from daemon.cluster._leases import LEASE_SECONDS, MemberView, Self, View, arrive, leave, read_members, write_leases
from daemon.cluster._shares import fair_shares
from daemon.state import StateDatabase
from fleet.errors import StateError

log = structlog.get_logger()

BEAT_SECONDS = 2.0
LONGEST_BEAT = 4.0  # seconds that a beat may take; less than a lease lasts
# after the state database, or the way to it, was away: others must have time to renew what has run out meanwhile
SETTLE_SECONDS = LEASE_SECONDS + 4.0
_PAUSE = 0.2  # seconds between two tries at least
_LEAVE_SECONDS = 2.0

OnChange = Callable[[frozenset[str], frozenset[str]], Awaitable[None]]
_FAILURES = (StateError, TimeoutError)


async def _nobody(_gained: frozenset[str], _lost: frozenset[str]) -> None:
    return


class Membership:
    """Leases for the environments that are wanted.

    `on_change` is awaited with what was gained and lost; what is to be handed over stays leased until it has returned,
    and meanwhile the beats go on. As long as the state database is away, what is held stays held; a process that has
    never seen it holds everything it wants.
    """

    def __init__(
        self, state: StateDatabase, *, instance: str, name: str = "", address: str = "", on_change: OnChange = _nobody
    ) -> None:
        self.id = f"{instance}.{uuid.uuid4().hex[:12]}"
        self.instance = instance
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.address = address
        self._state = state
        self._on_change = on_change
        self._wanted: frozenset[str] = frozenset()
        self._known: frozenset[str] = frozenset()  # what was wanted at the last beat that succeeded
        self._held: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._parting: frozenset[str] = frozenset()  # leased, no longer held, and `on_change` does not know it yet
        self._given: frozenset[str] = frozenset()  # to be given back at the next beat
        self._anew, self._works = True, True
        self._settled_at = 0.0
        self._wake, self._changed = asyncio.Event(), asyncio.Event()

    @property
    def held(self) -> frozenset[str]:
        """The environments to look after."""
        return self._held

    def want(self, environments: Iterable[str]) -> None:
        """Look after a share of these from now on."""
        self._wanted = frozenset(environments)
        self._wake.set()

    async def join(self) -> None:
        """The first beat, and `on_change` told of what it gave. Raises nothing where the state database is away."""
        await self._beat()
        await self._tell()

    async def serve(self) -> None:
        """Beat and tell, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beats())
            group.create_task(self._tells())

    async def leave(self) -> None:
        """Let others take over at once. To be called after `serve` has ended and work on the environments as well."""
        self._held = self._told = self._parting = self._given = frozenset()
        try:
            async with asyncio.timeout(_LEAVE_SECONDS), self._state.begin() as connection:
                await leave(connection, self.id)
        except _FAILURES as error:
            log.warning("leases_not_given_back", error=str(error))  # they run out

    async def members(self) -> list[MemberView]:
        """The daemons on this state database. Raises StateAwayError."""
        async with self._state.begin() as connection:
            return await read_members(connection)

    async def _beats(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._next()
            self._wake.clear()
            await self._beat()

    async def _next(self) -> None:
        if self._works:
            await self._wake.wait()
        else:
            await asyncio.sleep(_PAUSE)  # it may be there, and not answer us
            await self._state.returned()

    async def _beat(self) -> None:
        wanted, given = self._wanted, self._given
        try:
            async with asyncio.timeout(LONGEST_BEAT), self._state.begin() as connection:
                me = Self(self.id, self.instance, self.name, self.address, tuple(sorted(wanted)), self._anew)
                view = await arrive(connection, me)
                share = self._share(view, wanted)
                leased = await write_leases(
                    connection,
                    me,
                    take=share | self._leaving(view, share, given),
                    give=given,
                    inherit=view.uptime > SETTLE_SECONDS and asyncio.get_running_loop().time() >= self._settled_at,
                )
        except _FAILURES as error:
            self._miss(wanted, error)
            return
        if not self._works:
            log.info("leases_renewed_again", held=len(leased & share))
        self._works, self._anew, self._known = True, False, wanted
        self._given -= given
        self._parting = leased - share
        self._hold(leased & share)

    def _share(self, view: View, wanted: frozenset[str]) -> frozenset[str]:
        shares = fair_shares({**view.others, self.id: wanted}, view.holders)
        mine = frozenset(environment for environment, member in shares.items() if member == self.id)
        return mine - self._parting - self._given  # what is on its way out comes back through the door

    def _leaving(self, view: View, share: frozenset[str], given: frozenset[str]) -> frozenset[str]:
        """What is leased to us and shall not stay; it is kept until `on_change` has heard of it."""
        ours = frozenset(environment for environment, holder in view.holders.items() if holder == self.id)
        return ours - share - given

    def _miss(self, wanted: frozenset[str], error: Exception) -> None:
        if self._works:
            log.warning("leases_not_renewed", error=str(error) or type(error).__name__, held=len(self._held))
        self._works = False
        if not self._anew:
            self._settled_at = asyncio.get_running_loop().time() + SETTLE_SECONDS
        # nobody can tell who looks after what is new: better two than none
        self._hold((self._held & wanted) | (wanted - self._known))

    def _hold(self, held: frozenset[str]) -> None:
        self._held = held
        if held != self._told or self._parting:
            self._changed.set()

    async def _tells(self) -> None:
        while True:
            await self._changed.wait()
            await self._tell()

    async def _tell(self) -> None:
        self._changed.clear()
        held = self._held
        gained, lost = held - self._told, self._told - held
        if gained or lost:
            log.info("environments_changed", gained=sorted(gained), lost=sorted(lost), held=len(held))
            await self._on_change(gained, lost)
        self._told = held
        done = self._parting - held
        if done:
            self._parting -= done
            self._given |= done
            self._wake.set()
