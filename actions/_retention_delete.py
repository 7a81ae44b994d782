"""Deleting many rows beside others who write: small transactions, pauses, and nobody is waited for.

Each batch is looked for without a lock, then locked (what others have locked is left), looked at once more, and deleted
within some hundredths of a second. How many rows that is, is measured as it goes: a busy server does fewer.

The invariant: a transaction deletes a row that is past its time by its own rule, or one that goes with such a row which
the same transaction deletes. Never does a row that is younger go before the one that it belongs to: should that be
written to meanwhile, or take too long, all that is younger stays with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from actions._action import Job
from actions._retention import Cleared, RowTable, Rules
from fleet.connections import Connection
from fleet.errors import ActionError

_BATCH_SECONDS = 0.025  # as long a writer may have to wait for a row
_FIRST_ROWS, _MOST_ROWS = 100, 10_000
_WINDOW_BLOCKS = 512  # read at once where no index leads to the old rows
_MOST_MS, _SINGLE_MS = 50, 1000  # what a statement of several rows may take, and of one
_MOST_STUCK = 20  # rows that take too long, one by one
_LAG_LOOK_SECONDS, _LAG_PAUSE_SECONDS = 1.0, 1.0
# what a standby has not replayed; a dump or an archiver has nothing to replay
_LAG = """
    select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::float8,
        coalesce(bool_or(state is null), false)
    from pg_catalog.pg_stat_replication
"""
_BLOCKS = "select pg_relation_size($1::oid::regclass) / current_setting('block_size')::int8"
Place = tuple[int, int]  # block and number of a row


@dataclass(slots=True)
class Pace:
    """How many rows are deleted at once, and how long nothing is done between; `share` is the part of time at work."""

    share: float
    most_lag_bytes: float
    rows: int = _FIRST_ROWS
    lag_seen: float = 0.0

    def learn(self, seconds: float, full: bool) -> None:
        """From a batch that took so long; only a full one shows that more would do."""
        factor = min(2.0, max(0.5, _BATCH_SECONDS / max(seconds, 1e-6)))
        if full or factor < 1:
            self.rows = min(_MOST_ROWS, max(1, int(self.rows * factor)))

    def give_way(self) -> None:
        """A batch took too long."""
        self.rows = max(1, self.rows // 4)


class _TooManyError(Exception):
    """More rows go with these than a transaction of several rows may delete."""


class _InUseError(Exception):
    """Somebody else has locked a row that would go with these."""


async def refuse_unknown_lag(connection: Connection) -> None:
    """Raises ActionError where standbys are connected and the role may not see how they keep up."""
    _, hidden = await connection.fetchrow(_LAG) or (0, False)
    if hidden:
        raise ActionError("how far standbys lag behind is hidden from the role", hint="grant it pg_monitor")


async def delete_expired(job: Job, connection: Connection, rules: Rules, table: RowTable, pace: Pace) -> int:
    """Delete what is past its time and may go, and what goes with it; how many rows of `table`.

    Raises:
        ActionError: single rows take too long, again and again.
    """
    work = _Work(job, connection, rules, table, pace)
    return await (work.by_index() if table.indexed else work.by_blocks())


class _Work:
    def __init__(self, job: Job, connection: Connection, rules: Rules, table: RowTable, pace: Pace) -> None:
        self.job, self.connection, self.rules, self.table, self.pace = job, connection, rules, table, pace
        self.expired = table.expired("t", rules.now)
        self.wanted = f"{self.expired} and {rules.may_go(table, 't')}"
        self.deleted = 0
        self.left: set[tuple[int, Place]] = set()  # by table: rows in use, and those that took too long
        self.stuck = 0  # of these
        self.belonging = rules.clearing(table, f"{self.expired} and t.ctid = any($1)")
        self.belonging_pace = replace(pace)  # of these a batch is more, or fewer

    async def by_index(self) -> int:
        """From the oldest row on; the next look begins where this one ended, and not at what is deleted already."""
        table, since, beyond = self.table, "-infinity", False
        while True:
            rows = self.pace.rows
            sign = ">" if beyond else ">="
            found = await self.connection.fetch(
                f"select t.ctid as place, t.{table.column}::text as at from only {table.quoted} t "  # noqa: S608
                f"where t.{table.column} {sign} $1::text::{table.type} and {self.wanted} "
                f"order by t.{table.column} limit $2",
                since,
                rows,
            )
            gone = await self._delete_chosen([record["place"] for record in found])
            if len(found) < rows:
                return self.deleted
            last = found[-1]["at"]
            # many rows of one moment, none of which would go: they are left
            since, beyond = last, last == since and gone == 0

    async def by_blocks(self) -> int:
        """Block by block, each once: no index leads to the old rows."""
        blocks = int(await self.connection.fetchval(_BLOCKS, self.table.oid))
        for first in range(0, blocks, _WINDOW_BLOCKS):
            while True:
                rows = self.pace.rows
                found = await self.connection.fetch(
                    f"select t.ctid as place from only {self.table.quoted} t "  # noqa: S608
                    f"where t.ctid >= $1 and t.ctid < $2 and {self.wanted} limit $3",
                    (first, 0),
                    (first + _WINDOW_BLOCKS, 0),
                    rows,
                )
                gone = await self._delete_chosen([record["place"] for record in found])
                if len(found) < rows or gone == 0:
                    break
        return self.deleted

    async def _delete_chosen(self, places: Sequence[Place]) -> int:
        """Of these rows, with what goes with them. A part is as many as the pace allows meanwhile."""
        gone, left = 0, list(places)
        while left:
            part, left = left[: self.pace.rows], left[self.pace.rows :]
            gone += await self._delete_part(part)
            ratio = min(1.0, self.deleted / max(self.table.rows, 1.0))
            self.job.progress(ratio, f"{self.table.quoted}: {self.deleted:,} rows deleted")
        return gone

    async def _delete_part(self, part: Sequence[Place]) -> int:
        """As long as it helps: rows may refer to others of their own table, or were written meanwhile."""
        gone, last = 0, -1
        while last and gone < len(part):
            for one in self.belonging:
                await self._delete_old(one, part)
            last = await self._delete(self.table, part, self.pace)
            gone += last
        self.deleted += gone
        return gone

    async def _delete_old(self, one: Cleared, parents: Sequence[Place]) -> None:
        """What belongs to `parents` and is old itself, in batches: one of them may have many."""
        table, alias = one.table, one.alias
        old = f"{table.expired(alias, self.rules.now)} and {self.rules.alone(table, alias)}"
        while True:
            found = await self.connection.fetch(
                f"select {alias}.tableoid::int8 as part, {alias}.ctid as place from {table.quoted} {alias} "  # noqa: S608
                f"where {one.belongs} and {old} limit $2",
                parents,
                self.belonging_pace.rows,
            )
            parts: dict[int, list[Place]] = {}
            for record in found:
                parts.setdefault(record["part"], []).append(record["place"])
            gone = 0
            for oid, places in parts.items():
                gone += await self._delete(self.rules.tables[oid], places, self.belonging_pace)
            if gone == 0:
                return

    async def _delete(self, table: RowTable, places: Sequence[Place], pace: Pace) -> int:
        """Those that are still past their time and that nobody has locked; fewer at once where that is too much."""
        gone, left = 0, [place for place in places if (table.oid, place) not in self.left]
        while left:
            part = left[: pace.rows]
            begun = time.perf_counter()
            try:
                gone += await self._transaction(table, part)
            except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError, _TooManyError, _InUseError) as error:
                pace.give_way()
                if len(part) == 1:
                    self._leave(table, left.pop(0), in_use=isinstance(error, _InUseError))
            else:
                left = left[len(part) :]
                pace.learn(time.perf_counter() - begun, len(part) >= pace.rows)
            await self._pause(time.perf_counter() - begun)
        return gone

    def _leave(self, table: RowTable, place: Place, *, in_use: bool) -> None:
        """A single row is in use, or took too long: it is left to the next run."""
        self.left.add((table.oid, place))
        self.stuck += not in_use
        if self.stuck > _MOST_STUCK:
            raise ActionError(
                f"deleting one row of {table.quoted} takes longer than {_SINGLE_MS} ms, again and again",
                hint="do its triggers take long, do very many rows go with it, are rows that refer to it locked, "
                "is the server overloaded?",
            )

    async def _transaction(self, table: RowTable, places: Sequence[Place]) -> int:
        """Delete rows, and by ON DELETE CASCADE what goes with them: all of a row, or nothing.

        The last statement sees what was committed before the rows were locked; nothing can refer to them since.
        """
        async with self.connection.transaction(isolation="read_committed"):
            # nobody waits for the disk, nor for a standby: what a crash brings back is deleted again
            milliseconds = _MOST_MS if len(places) > 1 else _SINGLE_MS
            await self.connection.execute(
                f"set local synchronous_commit = off; set local statement_timeout = {milliseconds}"
            )
            locked: list[Any] = await self.connection.fetch(
                f"select t.ctid from only {table.quoted} t "  # noqa: S608
                f"where t.ctid = any($1) and {table.expired('t', self.rules.now)} for update of t skip locked",
                places,
            )
            if not locked:
                return 0
            chosen = [record[0] for record in locked]
            await self._lock_belonging(table, chosen, None if len(places) == 1 else _MOST_ROWS - len(chosen))
            done = await self.connection.execute(
                f"delete from only {table.quoted} t where t.ctid = any($1) and {self.rules.alone(table, 't')}",  # noqa: S608
                chosen,
            )
        return int(done.split()[-1])

    async def _lock_belonging(self, table: RowTable, chosen: Sequence[Place], most: int | None) -> None:
        """Lock what goes with the `chosen`, each before what refers to it: nobody can refer to any of it from then on.

        Raises:
            _TooManyError: these are more than `most`.
            _InUseError: somebody else has locked one of them.
        """
        for one in reversed(self.rules.clearing(table, "t.ctid = any($1)")):
            try:
                count = await self.connection.fetchval(
                    f"with locked as (select from {one.table.quoted} {one.alias} where {one.belongs} "  # noqa: S608
                    "limit $2 for update nowait) select count(*) from locked",
                    chosen,
                    None if most is None else most + 1,
                )
            except asyncpg.LockNotAvailableError as error:
                raise _InUseError from error
            if most is not None:
                most -= count
                if most < 0:
                    raise _TooManyError

    async def _pause(self, worked: float) -> None:
        """Leave the server to others for a while, and to its standbys until they have caught up."""
        await asyncio.sleep(worked * (1 / self.pace.share - 1))
        if time.perf_counter() - self.pace.lag_seen < _LAG_LOOK_SECONDS:
            return
        while True:
            lag, _ = await self.connection.fetchrow(_LAG) or (0.0, False)
            self.pace.lag_seen = time.perf_counter()
            if lag <= self.pace.most_lag_bytes:
                return
            self.job.progress(0.0, f"waits for a standby that is {lag / 2**20:.0f} MiB behind")
            await asyncio.sleep(_LAG_PAUSE_SECONDS)
