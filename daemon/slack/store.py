"""Threads in the state database: news comes in, claims are taken, what is due is found. No word to Slack from here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, bindparam, case, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from daemon.slack import routing
from daemon.slack.news import News, thread_of
from daemon.slack.settings import SlackSettings
from daemon.slack.thread import Facts, Stage, advance, opened
from daemon.state import StateDatabase
from daemon.state.models import Moment, SlackThread

CLAIM_SECONDS = 40.0  # longer than anything is allowed to take with a claim in hand
EDIT_SECONDS = 3.0  # between two edits of a message that nobody waits for
KEPT_SECONDS = 30 * 86_400.0
STORM_LASTS = 3600.0  # seconds of one digest of a storm
_TABLE = SlackThread.__table__
_STORM_MINUTE = 60.0
_UNFOLDED = frozenset({Stage.ASKING})


@dataclass(frozen=True, slots=True)
class Row:
    """A thread as it stands; see SlackThread. Times in unix seconds; `place` is `channel` until more is known."""

    id: str
    key: str
    channel: str
    place: str
    ts: str | None
    facts: Facts
    revision: int
    shown: int
    folded: str | None
    opened_at: float
    shown_at: float | None
    posting_at: float | None


@dataclass(frozen=True, slots=True)
class Folded:
    """So many threads of one title in one environment at one stage."""

    title: str
    environment: str
    stage: str
    count: int


class Threads:
    """`now` gives unix seconds. Everything raises StateAwayError while the state database is away."""

    def __init__(self, state: StateDatabase, settings: SlackSettings, now: Callable[[], float]) -> None:
        self._state = state
        self._settings = settings
        self._now = now

    async def receive(self, news: News) -> tuple[Row | None, bool]:
        """Take news into its thread, which it may open (None: it is worth none), and whether people wait to see it."""
        now, key = self._now(), thread_of(news)
        async with self._state.begin() as connection:
            await _in_turn(connection, key)
            row = await _latest(connection, key)
            if row is None or self._is_over(row, news, now):
                return await self._open(connection, key, news, row), True
            facts = advance(row.facts, news)
            if facts == row.facts:
                return row, True  # perhaps it was not shown the last time
            urgent = facts.version != row.facts.version or bool(facts.replies) or row.shown_at is None
            folded = None if facts.stage in _UNFOLDED else row.folded
            soon = now if urgent or row.shown_at is None else max(now, row.shown_at + EDIT_SECONDS)
            return await self._write(connection, row, facts, folded=folded, due_at=soon), urgent or soon == now

    def _is_over(self, row: Row, news: News, now: float) -> bool:
        """Whether this is another occurrence. What comes late about a run, or a second time, belongs to the old one."""
        ended = row.facts.ended_at
        within = self._settings.reopen_within.total_seconds()
        return ended is not None and now - ended > within and news.kind == "alert" and news.id not in row.facts.seen

    async def _open(self, connection: AsyncConnection, key: str, news: News, last: Row | None) -> Row | None:
        if not routing.opens(news, self._settings):
            return last
        now = self._now()
        facts = advance(opened(news, now), news)
        if last is not None:
            facts = facts.model_copy(update={"previous": last.id})
        channel = routing.channel_for(facts, self._settings)
        folded = None
        if facts.digest is None and facts.stage not in _UNFOLDED:
            await _in_turn(connection, f"channel:{channel}")
            folded = await self._storm(connection, channel)
        return await self._insert(connection, key, channel, facts, folded)

    async def _storm(self, connection: AsyncConnection, channel: str) -> str | None:
        """The thread that tells of a storm in this channel, where one goes on."""
        now, mine = self._now(), SlackThread.channel == channel
        key = f"storm:{channel}"
        storm = await _latest(connection, key)
        lately = select(func.count()).where(mine, SlackThread.key != key)
        lately = lately.where(SlackThread.opened_at > now - _STORM_MINUTE)
        if (await connection.execute(lately)).scalar_one() < self._settings.storm:
            return None
        if storm is None or now - storm.opened_at > STORM_LASTS:
            facts = Facts(title="Many alerts at once", begun_at=now, changed_at=now, storm=True)
            storm = await self._insert(connection, key, channel, facts, None)
        else:
            await self._write(connection, storm, storm.facts, due_at=max(now, (storm.shown_at or 0.0) + EDIT_SECONDS))
        return storm.id

    async def _insert(
        self, connection: AsyncConnection, key: str, channel: str, facts: Facts, folded: str | None
    ) -> Row:
        now = self._now()
        row = {
            "id": uuid.uuid4().hex[:12],
            "key": key,
            "channel": channel,
            "facts": facts.model_dump(mode="json"),
            "stage": facts.stage.value,
            "folded": folded,
            "opened_at": now,
            "due_at": None if folded else now,
        }
        found = await connection.execute(insert(SlackThread).values(row).returning(*_TABLE.c))
        return _row(found.mappings().one())

    async def _write(self, connection: AsyncConnection, row: Row, facts: Facts, **fields: Any) -> Row:
        """As a new revision, due at once unless `fields` say otherwise. What is folded is told in the other thread."""
        now = self._now()
        values = {"facts": facts.model_dump(mode="json"), "stage": facts.stage.value, "due_at": now} | fields
        folded = values.get("folded", row.folded)
        if folded is not None:
            values["due_at"] = None
            soon = func.coalesce(SlackThread.due_at, _moment(now + EDIT_SECONDS))
            other = update(SlackThread).where(SlackThread.id == folded)
            await connection.execute(other.values(revision=SlackThread.revision + 1, due_at=soon))
        changed = update(SlackThread).where(SlackThread.id == row.id).returning(*_TABLE.c)
        found = await connection.execute(changed.values(revision=SlackThread.revision + 1, **values))
        return _row(found.mappings().one())

    async def load(self, thread: str) -> Row | None:
        async with self._state.begin() as connection:
            found = await connection.execute(select(_TABLE).where(SlackThread.id == thread))
            row = found.mappings().one_or_none()
            return None if row is None else _row(row)

    async def change(self, thread: str, how: Callable[[Facts], Facts]) -> Row | None:
        """Change what is known, whoever else does at the same time; None where there is no such thread."""
        async with self._state.begin() as connection:
            found = await connection.execute(select(_TABLE).where(SlackThread.id == thread).with_for_update())
            row = found.mappings().one_or_none()
            if row is None:
                return None
            known = _row(row)
            facts = how(known.facts)
            return known if facts == known.facts else await self._write(connection, known, facts)

    async def claim(self, thread: str) -> bool:
        """Whether it is ours to show for CLAIM_SECONDS; where it is somebody else's, it is due after that."""
        now = self._now()
        free = or_(SlackThread.claimed_until.is_(None), SlackThread.claimed_until <= now)
        taken = update(SlackThread).where(SlackThread.id == thread, free).values(claimed_until=now + CLAIM_SECONDS)
        async with self._state.begin() as connection:
            return bool((await connection.execute(taken.returning(SlackThread.id))).first())

    async def release(self, thread: str, *, shown: int | None = None, due_at: float | None = None) -> bool:
        """Let go of a claim. Not done, and False, where something came in after revision `shown`."""
        values: dict[str, Any] = {"claimed_until": None, "due_at": due_at}
        done = update(SlackThread).where(SlackThread.id == thread)
        if shown is not None:
            done = done.where(SlackThread.revision == shown)
        async with self._state.begin() as connection:
            return bool((await connection.execute(done.values(values).returning(SlackThread.id))).first())

    async def set(self, thread: str, **fields: Any) -> None:
        """Note where a message is and what it shows, by whoever holds the claim."""
        async with self._state.begin() as connection:
            await connection.execute(update(SlackThread).where(SlackThread.id == thread).values(**fields))

    async def edit(self, thread: str, how: Callable[[Facts], Facts]) -> Row:
        """Note in the facts what was posted, by whoever holds the claim; it is nothing new to show."""
        async with self._state.begin() as connection:
            found = await connection.execute(select(_TABLE).where(SlackThread.id == thread).with_for_update())
            facts = how(_row(found.mappings().one()).facts)
            values = {"facts": facts.model_dump(mode="json")}
            changed = update(SlackThread).where(SlackThread.id == thread).values(values).returning(*_TABLE.c)
            return _row((await connection.execute(changed)).mappings().one())

    async def due(self, limit: int = 20) -> Sequence[str]:
        now = self._now()
        free = or_(SlackThread.claimed_until.is_(None), SlackThread.claimed_until <= now)
        query = select(SlackThread.id).where(SlackThread.due_at <= now, free)
        # people wait for what asks them
        first = case((SlackThread.stage == Stage.ASKING.value, 0), else_=1)
        async with self._state.begin() as connection:
            return list((await connection.execute(query.order_by(first, SlackThread.due_at).limit(limit))).scalars())

    async def folded(self, storm: str) -> Sequence[Folded]:
        """What a storm is made of, the most numerous first."""
        title, environment = SlackThread.facts["title"].astext, SlackThread.facts["environment"].astext
        query = select(title, environment, SlackThread.stage, func.count().label("many"))
        query = query.where(SlackThread.folded == storm).group_by(title, environment, SlackThread.stage)
        async with self._state.begin() as connection:
            rows = await connection.execute(query.order_by(text("many desc"), title, environment))
            return [Folded(*row) for row in rows]

    async def forget(self) -> None:
        """Let go of what was over KEPT_SECONDS ago and is shown."""
        old = SlackThread.opened_at < self._now() - KEPT_SECONDS
        over = SlackThread.facts["ended_at"].astext.is_not(None) | SlackThread.facts["storm"].as_boolean()
        async with self._state.begin() as connection:
            await connection.execute(delete(SlackThread).where(old, over, SlackThread.due_at.is_(None)))

    async def waiting(self) -> int:
        """Threads of which Slack does not show everything yet."""
        query = select(func.count()).where(SlackThread.due_at <= self._now(), SlackThread.revision > SlackThread.shown)
        async with self._state.begin() as connection:
            return int((await connection.execute(query)).scalar_one())


def _moment(at: float) -> ColumnElement[float]:
    return bindparam(None, at, type_=Moment())


async def _in_turn(connection: AsyncConnection, key: str) -> None:
    """Wait for whoever else works on `key`, until the transaction ends."""
    lock = text("select pg_advisory_xact_lock(hashtextextended(:key, 610))")
    await connection.execute(lock, {"key": key})


async def _latest(connection: AsyncConnection, key: str) -> Row | None:
    query = select(_TABLE).where(SlackThread.key == key).order_by(SlackThread.opened_at.desc()).limit(1)
    row = (await connection.execute(query.with_for_update())).mappings().one_or_none()
    return None if row is None else _row(row)


def _row(row: RowMapping) -> Row:
    names = ("id", "key", "channel", "ts", "revision", "shown", "folded", "opened_at", "shown_at", "posting_at")
    place = row["place"] or row["channel"]
    return Row(facts=Facts.model_validate(row["facts"]), place=place, **{name: row[name] for name in names})
