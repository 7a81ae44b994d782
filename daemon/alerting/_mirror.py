"""Alerts in the state database, by environment, so that they move with it to whoever looks after it next.

The journal of each daemon stays what it goes on from; the mirror is written behind it, and waits while the database is
away. Alerts without an environment are the daemon's own and stay with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.state import StateDatabase
from fleet.errors import StateError
from rules import Alert, Labels, Lasting, RuleError, Saved
from rules.snapshots import dump, load

log = structlog.get_logger()

WRITE_SECONDS = 0.2  # how far the mirror is behind at most, while the database is there
_PAUSE = 1.0  # after a failure
_LONGEST_PAUSE = 5.0  # what is undecided is looked at again
_FAILURES = (StateError, TimeoutError)
_SLOWEST = 5.0  # seconds that one writing may take
_CLOCK = 0.001  # the database keeps microseconds, floats do not

# who no longer holds the lease has nothing to say: somebody else does
_OURS = text("""
    select environment, cast(extract(epoch from alerts_at) as float8) as alerts_at, alerts_by from lease
    where environment = any(cast(:environments as text[])) and holder = :member order by environment for update
""")
_READ = text("""
    select environment, rule, cast(alert as text) as alert from alert
    where environment = any(cast(:environments as text[]))
""")
_CLEAR = text("delete from alert where environment = any(cast(:environments as text[]))")
_DELETE = text("""
    delete from alert using unnest(
        cast(:environments as text[]), cast(:rules as text[]), cast(:labels as text[])
    ) as gone (environment, rule, labels)
    where alert.environment = gone.environment and alert.rule = gone.rule and alert.labels = gone.labels
""")
_UPSERT = text("""
    insert into alert (environment, rule, labels, alert)
    select environment, rule, labels, cast(alert as jsonb) from unnest(
        cast(:environments as text[]), cast(:rules as text[]), cast(:labels as text[]), cast(:alerts as text[])
    ) as new (environment, rule, labels, alert)
    on conflict (environment, rule, labels) do update set alert = excluded.alert
""")
_SIGN = text("""
    update lease set alerts_at = to_timestamp(:at), alerts_by = :instance
    where environment = any(cast(:environments as text[])) and holder = :member
""")
_DISOWN = text("""
    update lease set alerts_by = null
    where environment = any(cast(:environments as text[])) and holder = :member
""")


class Keeper(Protocol):
    """Where alerts live: `Alerting`."""

    @property
    def remembered_at(self) -> float: ...

    async def adopt(self, environment: str, saved: Saved | None = None) -> None: ...

    async def release(self, environment: str) -> None: ...

    async def lasting(self, environment: str) -> list[Lasting]: ...


_Key = tuple[str, str, Labels]  # environment, rule, labels


@dataclass(slots=True)
class _Waiting:
    """What is to be written. `changes` are by alert, the newest counts; `whole` environments are written anew."""

    changes: dict[_Key, Alert | None] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    at: float = 0.0  # as of when, unix seconds
    signed_at: float = 0.0


class AlertMirror:
    """Copies the alerts of the environments that this daemon looks after.

    `member` is the id of its membership, `instance` that of its installation, whose journal outlives the process.
    """

    def __init__(
        self, state: StateDatabase, keeper: Keeper, *, member: str, instance: str, now: Callable[[], float]
    ) -> None:
        self._state = state
        self._keeper = keeper
        self._member = member
        self._instance = instance
        self._now = now
        self._noted: deque[tuple[Sequence[Lasting], float]] = deque()
        self._waiting = _Waiting()
        self._held: set[str] = set()
        self._undecided: set[str] = set()  # whether our own alerts count or those in the table
        self._turn = asyncio.Lock()
        self._fresh = asyncio.Event()  # something was noted
        self._loop: asyncio.AbstractEventLoop | None = None
        self.behind: str | None = None  # why it cannot write

    def note(self, changes: Sequence[Lasting], at: float) -> None:
        """Alerts changed by `at` (unix seconds), or none did. May be called from any thread."""
        self._noted.append((changes, at))
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._fresh.set)

    async def gain(self, environments: Iterable[str]) -> None:
        """Look after these from now on, with their alerts; while the database is away, with what is known here."""
        gained = set(environments)
        async with self._turn:
            self._undecided |= gained
            try:
                await self._decide()
            except _FAILURES as error:
                self._note_failure(error)
            # they are judged in any case; what the table knows is added once it can be read
            for environment in gained & self._undecided:
                await self._keeper.adopt(environment)

    async def lose(self, environments: Iterable[str]) -> None:
        """Look after these no longer. What is not written yet is, as long as the lease is ours."""
        lost = set(environments)
        async with self._turn:
            self._undecided -= lost
            try:
                await self._write()  # before they are dropped
            except _FAILURES as error:
                self._note_failure(error)
            self._waiting.whole -= lost
            for environment in sorted(lost):
                await self._keeper.release(environment)
            try:
                await self._write()  # what changed in between
                async with asyncio.timeout(_SLOWEST), self._state.begin() as connection:
                    await connection.execute(_DISOWN, {"environments": sorted(lost), "member": self._member})
            except _FAILURES as error:
                self._note_failure(error)
            self._held -= lost
            changes = self._waiting.changes
            self._waiting.changes = {key: alert for key, alert in changes.items() if key[0] not in lost}

    async def serve(self) -> None:
        """Write behind, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._fresh.set()  # what was noted before
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_PAUSE):  # wait_for may lose a cancellation before Python 3.12
                    await self._fresh.wait()
            await asyncio.sleep(WRITE_SECONDS)  # what else comes goes along
            self._fresh.clear()
            try:
                await self.flush()
            except _FAILURES as error:
                self._note_failure(error)
                await asyncio.sleep(_PAUSE)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        await self._state.returned()

    async def flush(self) -> None:
        """Write what there is. Raises StateAwayError; nothing is lost by that."""
        async with self._turn:
            await self._decide()
            await self._write()

    async def _decide(self) -> None:
        """Of environments whose lease we have: take the alerts of the table, unless our journal knows better."""
        if not self._undecided:
            return
        saved: dict[str, Saved | None] = {}
        async with asyncio.timeout(_SLOWEST), self._state.begin() as connection:
            found = await self._ours(connection, self._undecided)
            names = {"environments": sorted(found)}
            alerts = _by_rule(await connection.execute(_READ, names)) if found else {}
            for environment, (at, by) in found.items():
                journal_wins = by == self._instance and at is not None and self._keeper.remembered_at >= at - _CLOCK
                now = self._now()
                theirs = Saved(alerts.get(environment, {}), now if at is None else at, now)
                # a table that nobody ever wrote takes nothing away from what we remember
                saved[environment] = None if journal_wins or at is None else theirs
        for environment, one in saved.items():
            await self._keeper.adopt(environment, one)
            self._undecided.discard(environment)
            self._held.add(environment)
            self._waiting.whole.add(environment)
            self._waiting.signed_at = 0.0

    async def _write(self) -> None:
        self._drain()
        waiting = self._waiting
        whole, changes, at = set(waiting.whole), dict(waiting.changes), waiting.at or self._now()
        if not whole and not changes and at <= waiting.signed_at:
            return
        writings = {key: alert for key, alert in changes.items() if key[0] not in whole}
        for environment in whole:
            lasting = await self._keeper.lasting(environment)
            writings |= {(environment, one.key, one.labels): one.alert for one in lasting}
        if self._held:
            async with asyncio.timeout(_SLOWEST), self._state.begin() as connection:
                await self._write_to(connection, whole, writings, at)
        waiting.whole -= whole
        for key, alert in changes.items():
            if waiting.changes.get(key) is alert:
                waiting.changes.pop(key, None)
        waiting.signed_at = at
        self._note_success()

    async def _write_to(
        self, connection: AsyncConnection, whole: set[str], writings: Mapping[_Key, Alert | None], at: float
    ) -> None:
        ours = await self._ours(connection, self._held)
        anew = sorted(whole & ours.keys())
        if anew:
            await connection.execute(_CLEAR, {"environments": anew})
        gone = [key for key, alert in writings.items() if alert is None and key[0] in ours]
        there = [(key, alert) for key, alert in writings.items() if alert is not None and key[0] in ours]
        if gone:
            await connection.execute(_DELETE, _columns(gone))
        if there:
            alerts = [_storable(alert) for _, alert in there]
            await connection.execute(_UPSERT, {**_columns(key for key, _ in there), "alerts": alerts})
        signed = {"environments": sorted(ours), "member": self._member, "instance": self._instance, "at": at}
        await connection.execute(_SIGN, signed)

    async def _ours(
        self, connection: AsyncConnection, environments: Iterable[str]
    ) -> dict[str, tuple[float | None, str | None]]:
        """Those whose lease is ours until the end of the transaction; as of when, and by whom, the alerts are there."""
        asked = {"environments": sorted(environments), "member": self._member}
        return {row.environment: (row.alerts_at, row.alerts_by) for row in await connection.execute(_OURS, asked)}

    def _drain(self) -> None:
        waiting = self._waiting
        while self._noted:
            changes, at = self._noted.popleft()
            waiting.at = max(waiting.at, at)
            for one in changes:
                environment = one.labels.value("environment")
                if environment in self._held:
                    waiting.changes[environment, one.key, one.labels] = one.alert

    def _note_failure(self, error: Exception) -> None:
        if self.behind is None:
            log.warning("alerts_not_mirrored", error=str(error) or type(error).__name__)
        self.behind = str(error) or type(error).__name__

    def _note_success(self) -> None:
        if self.behind is not None:
            log.info("alerts_mirrored_again")
        self.behind = None


def _columns(keys: Iterable[_Key]) -> dict[str, Any]:
    listed = list(keys)
    return {
        "environments": [environment for environment, _, _ in listed],
        "rules": [rule for _, rule, _ in listed],
        "labels": [_digest(labels) for _, _, labels in listed],
    }


def _digest(labels: Labels) -> str:
    """What stands for labels of any length in an index; they are sorted by name."""
    return hashlib.sha256(json.dumps(labels.pairs).encode()).hexdigest()


def _storable(alert: Alert) -> str:
    """As JSON that PostgreSQL takes: it knows no lone surrogates and no NUL."""
    whole = json.dumps(dump(alert), ensure_ascii=False).encode("utf-8", "replace").decode()
    return whole.replace("\\u0000", "\\ufffd")


def _by_rule(rows: Iterable[Any]) -> dict[str, dict[str, list[Alert]]]:
    """By environment and rule. What cannot be read, as an older Custode wrote it, is left out and told."""
    alerts: dict[str, dict[str, list[Alert]]] = {}
    for row in rows:
        try:
            alert = load(json.loads(row.alert))
        except (ValueError, TypeError, RuleError) as error:
            log.warning("alert_unreadable", environment=row.environment, rule=row.rule, error=str(error))
            continue
        alerts.setdefault(row.environment, {}).setdefault(row.rule, []).append(alert)
    return alerts
