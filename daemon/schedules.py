"""Schedules: at its times each asks for its action, once, however many daemons there are and whichever of them live.

Every daemon on which the environment is configured asks. The request's key names the time, so that only the first
counts; and the time is remembered in the state database only once the request is there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy import text

from daemon.actions.request import Request, Source
from daemon.state import StateDatabase
from fleet.cron import Cron
from fleet.environment import Environment
from fleet.errors import CustodeError, StateAwayError, StateError
from fleet.policy import Schedule

log = structlog.get_logger()

LONGEST_WAIT = 30.0  # seconds; the clock may be set meanwhile
LATE = 30.0  # seconds by which a time is not yet missed
_PAUSE = 1.0  # after a failure

_Key = tuple[str, str]  # environment, schedule

# a schedule that nobody has seen before owes nothing for the time before it was there
_LAST = text("""
    with new as (
        insert into schedule (environment, name, last_slot)
        select environment, name, to_timestamp(since) from unnest(
            cast(:environments as text[]), cast(:names as text[]), cast(:since as float8[])
        ) as one (environment, name, since)
        order by environment, name
        on conflict do nothing
        returning environment, name, last_slot
    )
    select environment, name, cast(extract(epoch from last_slot) as float8) as last_slot
    from (select * from new union all select environment, name, last_slot from schedule) as known
    join unnest(cast(:environments as text[]), cast(:names as text[])) as one (environment, name)
        using (environment, name)
""")
_REMEMBER = text("""
    update schedule set last_slot = greatest(last_slot, to_timestamp(:slot))
    where environment = :environment and name = :name
""")


@dataclass(slots=True)
class _Known:
    """A schedule and its times, in unix seconds.

    Nothing is asked for from before `since` where nobody has seen the schedule before, nor from before `not_before`,
    when it was changed. `due` is what is still to be asked for.
    """

    schedule: Schedule
    times: Cron
    since: float
    not_before: float
    next: float = 0.0
    last: float | None = None  # that any daemon asked for
    due: float | None = None

    def look(self, now: float) -> None:
        """See what has become due: the latest of the times that have passed."""
        if now < self.next:
            return
        missed = max(self.schedule.catch_up.total_seconds(), LATE)
        earliest = max(now - missed, self.not_before, self.last or 0.0)
        self.due = self.times.latest(earliest, now) or self.due
        self.next = self.times.next(now) or math.inf


class Schedules:
    """Asks by `submit`, which must take a key once only; `now` gives unix seconds.

    `submit` raises StateAwayError where it has to be asked again; any other CustodeError is its answer.
    """

    def __init__(
        self, state: StateDatabase, submit: Callable[[Request], Awaitable[object]], now: Callable[[], float]
    ) -> None:
        self._state = state
        self._submit = submit
        self._now = now
        self._known: dict[_Key, _Known] = {}
        self._changed = asyncio.Event()
        self._begun = False

    def apply(self, environments: Mapping[str, Environment]) -> None:
        """Ask for the schedules of these environments from now on. What did not change goes on."""
        now, before, self._known = self._now(), self._known, {}
        for environment in environments.values():
            for name, schedule in environment.policy.schedules.items():
                key = (environment.name, name)
                old = before.get(key)
                if old is not None and old.schedule == schedule:
                    self._known[key] = old
                elif schedule.enabled:
                    self._known[key] = _Known(schedule, schedule.times(), now, now if self._begun else 0.0)
        self._begun = True
        self._changed.set()

    def upcoming(self) -> list[tuple[str, str, float]]:
        """Environment, schedule and next time (unix seconds), the soonest first."""
        now = self._now()
        for one in self._known.values():
            one.look(now)
        return sorted(((*key, one.next) for key, one in self._known.items()), key=lambda one: one[2])

    async def serve(self) -> None:
        """Ask at the right times, until cancelled."""
        while True:
            self._changed.clear()
            pause = await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    async def _look(self) -> float:
        """Seconds until it is worth to look again."""
        try:
            await self.fire_due()
        except StateError as error:
            log.warning("schedules_wait", error=str(error))
            await asyncio.sleep(_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT):  # meanwhile another time may come
                    await self._state.returned()
            return 0.0
        first = min((one.next for one in self._known.values()), default=math.inf)
        return min(first - self._now(), LONGEST_WAIT)

    async def fire_due(self) -> list[Request]:
        """Ask for what is due now; returns what was asked for.

        Raises:
            StateAwayError: the rest stays due, however long it takes.
        """
        now = self._now()
        for one in self._known.values():
            one.look(now)
        unseen = {key: one for key, one in self._known.items() if one.due is not None or one.last is None}
        if not unseen:
            return []
        await self._read_last(unseen)
        asked = []
        for key, one in unseen.items():
            if one.last is None:
                continue  # another daemon is just about to say
            while one.due is not None and one.due > one.last:  # the next may become due meanwhile
                asked.append(await self._ask(key, one, one.due))
            one.due = None
        return asked

    async def _read_last(self, unseen: Mapping[_Key, _Known]) -> None:
        """When each asked last, through any daemon."""
        lists = {
            "environments": [environment for environment, _ in unseen],
            "names": [name for _, name in unseen],
            "since": [one.since for one in unseen.values()],
        }
        async with self._state.begin() as connection:
            for row in await connection.execute(_LAST, lists):
                unseen[row.environment, row.name].last = row.last_slot

    async def _ask(self, key: _Key, one: _Known, slot: float) -> Request:
        environment, name = key
        moment = datetime.fromtimestamp(slot, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        request = Request(
            environment=environment,
            action=one.schedule.action,
            key=f"cron:{environment}:{name}:{moment}",
            requested_by=f"schedule {name}",
            at=self._now(),
            source=Source.SCHEDULE,
            reason=f"schedule {name}, due at {moment}",
            parameters=one.schedule.parameters,
        )
        try:
            await self._submit(request)
        except StateAwayError:
            raise
        except CustodeError as error:
            log.error("schedule_refused", environment=environment, schedule=name, error=str(error), hint=error.hint)  # noqa: TRY400
        async with self._state.begin() as connection:
            await connection.execute(_REMEMBER, {"environment": environment, "name": name, "slot": slot})
        one.last = slot
        return request
